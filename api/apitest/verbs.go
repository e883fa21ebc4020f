package apitest

import (
	"fmt"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/store"
)

// Verbs decides as simply as can be: each deploy makes a new release of each service whose image changed.
type Verbs struct{}

type action struct {
	text, reason string
	apply        func(tx *store.Tx)
}

func (a action) String() string     { return a.text }
func (a action) Reason() string     { return a.reason }
func (a action) Apply(tx *store.Tx) { a.apply(tx) }

// Deploy implements api.Verbs.
func (Verbs) Deploy(s *store.Snapshot, now time.Time, d holdfast.Deployment) ([]api.Action, error) {
	var out []api.Action
	for _, spec := range d.Services {
		if spec.Image == "refused" {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "service %s: image %q is refused", spec.Name, spec.Image)
		}
		svc := holdfast.Service{App: d.Name, Name: spec.Name}
		if old, ok := s.Services.Get(store.ServiceKey(d.Name, spec.Name)); ok {
			svc = *old
		}
		if old, ok := s.Releases.Get(store.ReleaseKey(d.Name, spec.Name, svc.Release)); ok && old.Spec.Image == spec.Image && !d.ForceRecreate {
			continue
		}
		out = append(out, release(svc, spec, now, "deployed"))
	}
	if len(out) > 0 {
		out = append(out, action{"update app " + d.Name, "deployed", func(tx *store.Tx) {
			tx.Put(&holdfast.App{Name: d.Name, Networks: d.Networks, Volumes: d.Volumes, Updated: now})
			tx.Event(holdfast.Event{Type: holdfast.AppDeployed, App: d.Name, Message: "deployed"})
		}})
	}
	return out, nil
}

func release(svc holdfast.Service, spec holdfast.Spec, now time.Time, note string) action {
	from := svc.Release
	svc.Last++
	svc.Release = svc.Last
	svc.Rollout = holdfast.Rollout{From: from, To: svc.Release, Phase: holdfast.Rolling, Started: now, Changed: now}
	rel := holdfast.Release{App: svc.App, Service: svc.Name, Number: svc.Release, Spec: spec, Created: now, Note: note,
		Digest: digestOf(spec.Image)}
	return action{fmt.Sprintf("roll %s to release %d", svc.Name, svc.Release), note, func(tx *store.Tx) { tx.Put(&svc); tx.Put(&rel) }}
}

// Down implements api.Verbs.
func (Verbs) Down(s *store.Snapshot, _ time.Time, app string) ([]api.Action, error) {
	a, _ := s.Apps.Get(app)
	gone := *a
	gone.Removing = true
	return []api.Action{action{"remove app " + app, "down", func(tx *store.Tx) { tx.Put(&gone) }}}, nil
}

func change(s *store.Snapshot, app, service, text string, edit func(*holdfast.Service)) ([]api.Action, error) {
	svc, _ := s.Services.Get(store.ServiceKey(app, service))
	next := *svc
	edit(&next)
	return []api.Action{action{text, "asked for", func(tx *store.Tx) { tx.Put(&next) }}}, nil
}

// Scale implements api.Verbs.
func (Verbs) Scale(s *store.Snapshot, _ time.Time, app, service string, replicas int) ([]api.Action, error) {
	return change(s, app, service, fmt.Sprintf("scale %s to %d", service, replicas), func(svc *holdfast.Service) { svc.Scale = &replicas })
}

// Rollback implements api.Verbs.
func (Verbs) Rollback(s *store.Snapshot, now time.Time, app, service string, number int) ([]api.Action, error) {
	svc, _ := s.Services.Get(store.ServiceKey(app, service))
	if number == 0 {
		number = svc.Stable
	}
	rel, ok := s.Releases.Get(store.ReleaseKey(app, service, number))
	if !ok {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "service %s has no release %d", service, number)
	}
	return []api.Action{release(*svc, rel.Spec, now, fmt.Sprintf("rollback to %d", number))}, nil
}

// Pause implements api.Verbs.
func (Verbs) Pause(s *store.Snapshot, _ time.Time, app, service string) ([]api.Action, error) {
	if svc, _ := s.Services.Get(store.ServiceKey(app, service)); svc.Paused {
		return nil, holdfast.Errorf(holdfast.ErrConflict, "service %s is paused already", service)
	}
	return change(s, app, service, "pause "+service, func(svc *holdfast.Service) { svc.Paused = true })
}

// Resume implements api.Verbs.
func (Verbs) Resume(s *store.Snapshot, _ time.Time, app, service string) ([]api.Action, error) {
	return change(s, app, service, "resume "+service, func(svc *holdfast.Service) { svc.Paused = false })
}

// Restart implements api.Verbs.
func (Verbs) Restart(s *store.Snapshot, now time.Time, app, service string) ([]api.Action, error) {
	svc, _ := s.Services.Get(store.ServiceKey(app, service))
	rel, _ := s.Releases.Get(store.ReleaseKey(app, service, svc.Release))
	return []api.Action{release(*svc, rel.Spec, now, "restart")}, nil
}

// RunJob implements api.Verbs.
func (Verbs) RunJob(s *store.Snapshot, _ time.Time, app, service string) ([]api.Action, error) {
	return change(s, app, service, "run "+service, func(svc *holdfast.Service) { svc.Run.Requested++ })
}
