package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Down returns what removes an app: its services stop in the reverse order of their dependencies. ErrNotFound when there
// is no such app. An app that is going already needs nothing.
func Down(snap *store.Snapshot, app string) ([]Action, error) {
	a, ok := snap.Apps.Get(app)
	if !ok {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "app %s does not exist", app)
	}
	if a.Removing {
		return nil, nil
	}
	for _, other := range snap.Apps.All("") {
		for key, n := range other.Networks {
			if other.Name == app || !n.External || other.Removing {
				continue
			}
			for _, own := range a.Networks {
				if own.Name == n.Name && !own.External {
					return nil, holdfast.Errorf(holdfast.ErrConflict, "app %s uses network %s of %s as its %s: take it down first", other.Name, n.Name, app, key)
				}
			}
		}
	}
	going := *a
	going.Removing = true
	actions := []Action{{App: app, Text: "take app " + app + " down", Reason: "asked for", puts: []any{&going}, event: holdfast.AppRemoved}}
	for _, s := range snap.Services.All(app + "/") {
		gone := *s
		gone.Removing, gone.Backoff = true, holdfast.Backoff{}
		actions = append(actions, about(&gone, "", "app "+app+" is taken down", "remove service %s", s.Name))
	}
	return actions, nil
}

// Scale returns what sets the number of replicas of services of an app, by name. ErrInvalid when a number is negative
// or the service is not replicated.
func Scale(snap *store.Snapshot, app string, counts map[string]int) ([]Action, error) {
	var actions []Action
	for _, name := range sortedKeys(counts) {
		n := counts[name]
		s, rel, err := find(snap, app, name)
		if err != nil {
			return nil, err
		}
		fixed := slices.ContainsFunc(rel.Spec.Networks, func(at holdfast.Attachment) bool { return at.IPv4.IsValid() })
		switch {
		case n < 0:
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "scale %s to %d: must not be negative", name, n)
		case rel.Spec.Mode != holdfast.Replicated:
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "scale %s: its mode is %s, only replicated services have a number of replicas", name, rel.Spec.Mode)
		case fixed && n > 1:
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "scale %s to %d: it has a fixed address, which is for one replica only", name, n)
		case count(s, &rel.Spec) == n:
			continue
		}
		scaled := *s
		scaled.Scale = &n
		actions = append(actions, about(&scaled, holdfast.ServiceScaled, "asked for", "scale service %s from %d to %d", name, count(s, &rel.Spec), n))
	}
	return actions, nil
}

// Rollback returns what brings a service back to release; 0 is the one before: the stable release while another is being
// rolled out or has failed, else the newest one before that was stable. ErrNotFound when there is none.
func Rollback(snap *store.Snapshot, app, service string, release int, now time.Time) ([]Action, error) {
	s, _, err := find(snap, app, service)
	if err != nil {
		return nil, err
	}
	if release == 0 {
		if release = releaseBefore(snap, s); release == 0 {
			return nil, holdfast.Errorf(holdfast.ErrNotFound, "roll %s back: there is no release before %d", service, s.Release)
		}
	}
	if _, ok := snap.Releases.Get(store.ReleaseKey(app, service, release)); !ok {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "roll %s back: there is no release %d", service, release)
	}
	if s.Release == release {
		return nil, nil
	}
	back := *s
	reason := fmt.Sprintf("rollback to release %d asked for", release)
	aim(&back, release, now, reason)
	return []Action{about(&back, holdfast.RolloutStarted, "asked for", "roll service %s back from release %d to %d", service, s.Release, release)}, nil
}

func releaseBefore(snap *store.Snapshot, s *holdfast.Service) int {
	if s.Stable != s.Release {
		return s.Stable
	}
	before := 0
	for _, rel := range snap.Releases.All(store.ServiceKey(s.App, s.Name) + "/") {
		if rel.Number < s.Release && rel.Outcome == holdfast.Done {
			before = rel.Number
		}
	}
	return before
}

// Pause returns what makes a rollout wait as it is. ErrConflict when none is running.
func Pause(snap *store.Snapshot, app, service string) ([]Action, error) {
	s, _, err := find(snap, app, service)
	if err != nil {
		return nil, err
	}
	if p := s.Rollout.Phase; p != holdfast.Rolling && p != holdfast.Monitoring && p != holdfast.RollingBack {
		return nil, holdfast.Errorf(holdfast.ErrConflict, "pause %s: no rollout is running", service)
	}
	if s.Paused {
		return nil, nil
	}
	paused := *s
	paused.Paused = true
	return []Action{about(&paused, holdfast.RolloutPaused, "asked for", "pause the rollout of release %d of service %s", s.Release, service)}, nil
}

// Resume returns what lets a paused or halted rollout go on. ErrConflict when there is none.
func Resume(snap *store.Snapshot, app, service string, now time.Time) ([]Action, error) {
	s, _, err := find(snap, app, service)
	if err != nil {
		return nil, err
	}
	if !s.Paused && s.Rollout.Phase != holdfast.Halted {
		return nil, holdfast.Errorf(holdfast.ErrConflict, "resume %s: its rollout is not paused", service)
	}
	on := *s
	on.Paused = false
	if on.Rollout.Phase == holdfast.Halted {
		on.Rollout.Phase, on.Rollout.Failed, on.Rollout.Reason = holdfast.Rolling, 0, ""
		on.Backoff = holdfast.Backoff{}
	}
	on.Rollout.Changed = now
	return []Action{about(&on, holdfast.RolloutResumed, "asked for", "resume the rollout of release %d of service %s", s.Release, service)}, nil
}

// Restart returns what replaces all replicas of a service with new ones of the same spec, as an update would: with a new
// release.
func Restart(snap *store.Snapshot, app, service string, now time.Time) ([]Action, error) {
	s, rel, err := find(snap, app, service)
	if err != nil {
		return nil, err
	}
	if rel.Spec.Mode == holdfast.Job {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "restart %s: it is a job; run it instead", service)
	}
	r := *rel
	r.Number, r.Created, r.Outcome = s.Last+1, now, ""
	r.Note = fmt.Sprintf("restart of release %d", rel.Number)
	svc := *s
	newRelease(&svc, &r, now)
	a := about(&svc, holdfast.ReleaseCreated, "restart asked for", "create release %d of service %s, equal to %d", r.Number, service, rel.Number)
	a.puts = append(a.puts, &r)
	return []Action{a}, nil
}

// Stop returns what ends one replica: in the orderly way, or at once when kill is true. The service replaces it.
// ErrNotFound when there is no such replica; ErrConflict when it has ended.
func Stop(snap *store.Snapshot, id string, kill bool, now time.Time) ([]Action, error) {
	r, ok := snap.Replicas.Get(id)
	if !ok {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "replica %s does not exist", id)
	}
	if st, ok := snap.Statuses.Get(id); ok && st.State.Ended() {
		return nil, holdfast.Errorf(holdfast.ErrConflict, "replica %s has ended already", id)
	}
	if r.Desired == holdfast.Stop && (r.Kill || !kill) {
		return nil, nil
	}
	verb, why := "stop", "restart asked for"
	if kill {
		verb, why = "kill", "kill asked for"
	}
	stopped := *r
	stopped.Desired, stopped.Kill = holdfast.Stop, kill
	stopped.StopWhy = cmp.Or(r.StopWhy, why)
	if r.StopSince.IsZero() {
		stopped.StopSince = now
	}
	return []Action{{
		App: r.App, Service: r.Service, Replica: id, Release: r.Release, Reason: why,
		Text: verb + " replica " + id, puts: []any{&stopped},
	}}, nil
}

// RunJob returns what runs a job once.
func RunJob(snap *store.Snapshot, app, service string) ([]Action, error) {
	s, rel, err := find(snap, app, service)
	if err != nil {
		return nil, err
	}
	if rel.Spec.Mode != holdfast.Job {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "run %s: it is no job", service)
	}
	asked := *s
	asked.Run.Requested++
	return []Action{about(&asked, "", "asked for", "run job %s", service)}, nil
}

// find returns a service and its wanted release.
func find(snap *store.Snapshot, app, service string) (*holdfast.Service, *holdfast.Release, error) {
	s, ok := snap.Services.Get(store.ServiceKey(app, service))
	if !ok || s.Removing {
		return nil, nil, holdfast.Errorf(holdfast.ErrNotFound, "service %s of app %s does not exist", service, app)
	}
	rel, ok := snap.Releases.Get(store.ReleaseKey(app, service, s.Release))
	if !ok {
		return nil, nil, holdfast.Errorf(holdfast.ErrNotFound, "service %s of app %s has no release", service, app)
	}
	return s, rel, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
