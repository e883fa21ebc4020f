package daemon

import (
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
)

// verbs are package plan's decisions as the API asks for them.
type verbs struct{}

// action is a plan.Action whose text and reason the API tells apart.
type action struct{ plan.Action }

func (a action) String() string { return a.Text }
func (a action) Reason() string { return a.Action.Reason }

func actions(in []plan.Action, err error) ([]api.Action, error) {
	if err != nil {
		return nil, err
	}
	out := make([]api.Action, 0, len(in))
	for _, a := range in {
		out = append(out, action{a})
	}
	return out, nil
}

func (verbs) Deploy(s *store.Snapshot, now time.Time, d holdfast.Deployment) ([]api.Action, error) {
	return actions(plan.Deploy(s, d, now))
}

func (verbs) Down(s *store.Snapshot, _ time.Time, app string) ([]api.Action, error) {
	return actions(plan.Down(s, app))
}

func (verbs) Scale(s *store.Snapshot, _ time.Time, app, service string, replicas int) ([]api.Action, error) {
	return actions(plan.Scale(s, app, map[string]int{service: replicas}))
}

func (verbs) Rollback(s *store.Snapshot, now time.Time, app, service string, release int) ([]api.Action, error) {
	return actions(plan.Rollback(s, app, service, release, now))
}

func (verbs) Pause(s *store.Snapshot, _ time.Time, app, service string) ([]api.Action, error) {
	return actions(plan.Pause(s, app, service))
}

func (verbs) Resume(s *store.Snapshot, now time.Time, app, service string) ([]api.Action, error) {
	return actions(plan.Resume(s, app, service, now))
}

func (verbs) Restart(s *store.Snapshot, now time.Time, app, service string) ([]api.Action, error) {
	return actions(plan.Restart(s, app, service, now))
}

func (verbs) RunJob(s *store.Snapshot, _ time.Time, app, service string) ([]api.Action, error) {
	return actions(plan.RunJob(s, app, service))
}
