package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Conditions of a dependency.
const (
	started   = "started"
	healthy   = "healthy"
	completed = "completed"
)

// waitsFor returns what the first replica of release has to wait for, or "". Later ones wait for nothing.
func (w *work) waitsFor(release int) string {
	if slices.ContainsFunc(w.all, func(r *replica) bool { return r.Release == release }) {
		return ""
	}
	rel := w.release(&w.svc, release)
	if rel == nil {
		return fmt.Sprintf("release %d is gone", release)
	}
	for _, dep := range rel.Spec.DependsOn {
		if why := w.unmet(dep); why != "" {
			return why
		}
	}
	return ""
}

// unmet returns why dep does not hold yet, or "".
func (w *work) unmet(dep holdfast.Dependency) string {
	key := store.ServiceKey(w.svc.App, dep.Service)
	s, ok := w.snap.Services.Get(key)
	if !ok || s.Removing {
		if dep.Optional {
			return ""
		}
		return "waits for " + dep.Service + ", which does not exist"
	}
	if s.Rollout.Phase == holdfast.Rolling && s.Stable != 0 && !s.Paused {
		return fmt.Sprintf("waits for %s to reach release %d", dep.Service, s.Release)
	}
	replicas := w.replicas[key]
	switch dep.Condition {
	case completed:
		return waitsCompleted(dep.Service, s.Release, replicas)
	case healthy:
		if slices.ContainsFunc(replicas, (*replica).ready) {
			return ""
		}
		return "waits for " + dep.Service + " to be healthy"
	}
	if slices.ContainsFunc(replicas, func(r *replica) bool { return !r.st.Started.IsZero() || r.st.State == holdfast.Running }) {
		return ""
	}
	return "waits for " + dep.Service + " to start"
}

func waitsCompleted(service string, release int, replicas []*replica) string {
	why := "waits for " + service + " to complete"
	for _, r := range replicas {
		switch {
		case r.Release != release || !r.ended():
		case r.st.State == holdfast.Stopped && r.st.ExitCode == 0 && !r.st.Started.IsZero():
			return ""
		default:
			why = "waits for " + service + " to complete; it failed: " + ending(r.st)
		}
	}
	return why
}

// remove takes down a service that is to go, after those that depend on it, and forgets it once nothing of it runs.
func (w *work) remove() {
	if by := w.dependents(); len(by) > 0 {
		w.replacementOff("waits for " + strings.Join(by, ", ") + " to stop")
		return
	}
	left := false
	for _, r := range w.all {
		switch {
		case r.alive():
			w.stop(r, "service removed")
			left = true
		case !r.ended():
			left = true
		}
	}
	if !left {
		w.forget()
	}
}

// replacementOff keeps the replicas as they are until it is the service's turn.
func (w *work) replacementOff(why string) {
	if w.svc.Backoff.Reason == why {
		return
	}
	w.svc.Backoff.Reason = why
	a := about(&w.svc, "", why, "keep service %s", w.svc.Name)
	a.Quiet = true
	w.add(a)
}

// dependents returns the services with replicas left that are going too and depend on this one.
func (w *work) dependents() []string {
	var out []string
	app, appThere := w.snap.Apps.Get(w.svc.App)
	for key, other := range w.snap.Services.All(w.svc.App + "/") {
		if other.Name == w.svc.Name || !other.Removing && appThere && !app.Removing {
			continue
		}
		rel := w.release(other, other.Release)
		if rel == nil || !slices.Contains(needs(&rel.Spec), w.svc.Name) {
			continue
		}
		if slices.ContainsFunc(w.replicas[key], func(r *replica) bool { return !r.ended() }) {
			out = append(out, other.Name)
		}
	}
	return out
}

// forget deletes the service with all records of it; the app, too, when it was its last and is going.
func (w *work) forget() {
	a := Action{
		App: w.svc.App, Service: w.svc.Name, Text: "remove service " + w.svc.Name, Reason: "all its replicas have stopped",
		deletes: []any{&holdfast.Service{App: w.svc.App, Name: w.svc.Name}}, event: holdfast.ServiceRemoved,
	}
	for _, rel := range w.snap.Releases.All(store.ServiceKey(w.svc.App, w.svc.Name) + "/") {
		a.deletes = append(a.deletes, rel)
	}
	for _, r := range w.all {
		a.deletes = append(a.deletes, w.records(r)...)
	}
	w.add(a)
}

// records returns what is kept of a replica.
func (p *planner) records(r *replica) []any {
	out := []any{&holdfast.Replica{ID: r.ID}, &holdfast.Status{ID: r.ID}}
	for _, d := range p.snap.Drains.All(r.ID + "/") {
		out = append(out, d)
	}
	return out
}
