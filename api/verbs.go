package api

import (
	"context"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Action is one step that a verb decided.
type Action interface {
	String() string
	Reason() string
	Apply(tx *store.Tx)
}

// Verbs decides what each request changes; it reads nothing but the snapshot and the time. Errors are of the root
// package's kinds.
type Verbs interface {
	Deploy(s *store.Snapshot, now time.Time, d holdfast.Deployment) ([]Action, error)
	Down(s *store.Snapshot, now time.Time, app string) ([]Action, error)
	Scale(s *store.Snapshot, now time.Time, app, service string, replicas int) ([]Action, error)
	Rollback(s *store.Snapshot, now time.Time, app, service string, release int) ([]Action, error)
	Pause(s *store.Snapshot, now time.Time, app, service string) ([]Action, error)
	Resume(s *store.Snapshot, now time.Time, app, service string) ([]Action, error)
	Restart(s *store.Snapshot, now time.Time, app, service string) ([]Action, error)
	RunJob(s *store.Snapshot, now time.Time, app, service string) ([]Action, error)
}

// verb decides on one snapshot.
type verb func(s *store.Snapshot, now time.Time) ([]Action, error)

// commit decides and writes in one transaction, so that what was decided on is what is changed. With dryRun it only
// decides.
func (s *Server) commit(ctx context.Context, dryRun bool, decide verb) (Changes, error) {
	var done []Action
	if dryRun {
		actions, err := decide(s.cfg.State.Snapshot(), s.cfg.Now())
		return changesOf(actions), err
	}
	err := s.cfg.State.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) error {
		actions, err := decide(snap, s.cfg.Now())
		if err != nil {
			return err
		}
		for _, a := range actions {
			a.Apply(tx)
		}
		done = actions
		return nil
	})
	if err != nil {
		return Changes{}, err
	}
	out := changesOf(done)
	out.Revision = s.cfg.State.Snapshot().Revision
	return out, nil
}

func changesOf(actions []Action) Changes {
	out := Changes{Changes: []Change{}}
	for _, a := range actions {
		out.Changes = append(out.Changes, Change{What: a.String(), Why: a.Reason()})
	}
	return out
}
