package api

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
)

// verb is a request to package plan: it decides on one snapshot and reads nothing else.
type verb func(s *store.Snapshot, now time.Time) ([]plan.Action, error)

// commit decides and writes in one transaction, so that what was decided on is what is changed. With dryRun it only
// decides, and adds what the leader would do at once after it.
func (s *Server) commit(ctx context.Context, dryRun bool, decide verb) (Changes, error) {
	if dryRun {
		return s.preview(decide)
	}
	var done []plan.Action
	err := s.cfg.State.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) (err error) {
		if done, err = decide(snap, s.cfg.Now()); err != nil {
			return err
		}
		plan.Apply(tx, done)
		return nil
	})
	if err != nil {
		return Changes{}, err
	}
	out := changesOf(done)
	out.Revision = s.cfg.State.Snapshot().Revision
	return out, nil
}

func (s *Server) preview(decide verb) (Changes, error) {
	snap, now := s.cfg.State.Snapshot(), s.cfg.Now()
	actions, err := decide(snap, now)
	if err != nil {
		return Changes{}, err
	}
	about := map[string]bool{}
	for _, a := range actions {
		about[a.App] = true
	}
	// The IDs of replicas are made up: those of a later commit will be others.
	if actions, err = plan.Preview(snap, actions, now, rand.New(rand.NewPCG(uint64(snap.Revision), 0))); err != nil {
		return Changes{}, err
	}
	// What the leader does for other apps has nothing to do with this request.
	return changesOf(slices.DeleteFunc(actions, func(a plan.Action) bool { return !about[a.App] })), nil
}

func changesOf(actions []plan.Action) Changes {
	out := Changes{Changes: []Change{}}
	for _, a := range actions {
		if !a.Quiet && !a.Note {
			out.Changes = append(out.Changes, Change{What: a.Text, Why: a.Reason, App: a.App, Service: a.Service})
		}
	}
	return out
}
