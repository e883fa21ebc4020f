package apitest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// World plays the control loop and the nodes: replicas of the wanted release are ready as soon as they are wanted, and
// gone as soon as they are not.
type World struct {
	store *store.Store

	mu   sync.Mutex
	fail map[string]string
	held map[string]bool
}

// Hold makes rollouts of service stay where they are: its new replicas are ready, and the rollout is never done. It
// may be called while the world runs.
func (w *World) Hold(service string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == nil {
		w.held = map[string]bool{}
	}
	w.held[service] = true
}

// Fail makes each rollout of service end rolled back, for reason.
func (w *World) Fail(service, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail == nil {
		w.fail = map[string]string{}
	}
	w.fail[service] = reason
}

// Run plays until the test ends.
func (w *World) Run(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for revision := int64(0); ; {
			snap, err := w.store.Wait(ctx, revision)
			if err != nil {
				return
			}
			revision = snap.Revision
			if err := w.store.Update(ctx, w.step); err != nil && ctx.Err() == nil {
				t.Errorf("world: %v", err)
				return
			}
		}
	}()
}

func (w *World) step(s *store.Snapshot, tx *store.Tx) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, app := range s.Apps.All("") {
		if app.Removing {
			removeApp(s, tx, app)
			continue
		}
		for _, svc := range s.Services.All(app.Name + "/") {
			w.serviceLocked(s, tx, *svc)
		}
	}
	return nil
}

func removeApp(s *store.Snapshot, tx *store.Tx, app *holdfast.App) {
	for _, r := range s.Replicas.All(app.Name + "-") {
		tx.Delete(r)
	}
	for _, r := range s.Statuses.All(app.Name + "-") {
		tx.Delete(r)
	}
	for _, svc := range s.Services.All(app.Name + "/") {
		tx.Delete(svc)
	}
	for _, r := range s.Releases.All(app.Name + "/") {
		tx.Delete(r)
	}
	tx.Delete(app)
}

func (w *World) serviceLocked(s *store.Snapshot, tx *store.Tx, svc holdfast.Service) {
	rel, ok := s.Releases.Get(store.ReleaseKey(svc.App, svc.Name, svc.Release))
	if !ok {
		return
	}
	if why := w.fail[svc.Name]; why != "" && svc.Rollout.Phase == holdfast.Rolling {
		svc.Rollout.Phase, svc.Rollout.Reason = holdfast.RolledBack, why
		svc.Release = svc.Rollout.From
		tx.Put(&svc)
		return
	}
	want := rel.Spec.Replicas
	if svc.Scale != nil {
		want = *svc.Scale
	}
	for slot := 1; slot <= want; slot++ {
		runReplica(s, tx, svc, slot)
	}
	for _, r := range s.Replicas.All(svc.App + "-" + svc.Name + "-") {
		if r.Release != svc.Release || r.Slot > want {
			tx.Delete(r)
			tx.Delete(&holdfast.Status{ID: r.ID})
		}
	}
	if svc.Rollout.Phase == holdfast.Rolling && !w.held[svc.Name] {
		svc.Rollout.Phase, svc.Stable = holdfast.Done, svc.Release
		done := *rel
		done.Outcome = holdfast.Done
		tx.Put(&svc)
		tx.Put(&done)
	}
}

func runReplica(s *store.Snapshot, tx *store.Tx, svc holdfast.Service, slot int) {
	id := fmt.Sprintf("%s-%s-%d-r%d", svc.App, svc.Name, slot, svc.Release)
	if _, there := s.Replicas.Get(id); there {
		return
	}
	tx.Put(&holdfast.Replica{
		ID: id, App: svc.App, Service: svc.Name, Release: svc.Release, Slot: slot, Node: "n1", Desired: holdfast.Run,
		Reason: "wanted", Created: Epoch,
	})
	tx.Put(&holdfast.Status{
		ID: id, Node: "n1", State: holdfast.Running, Ready: true, Since: Epoch, Started: Epoch, ReadyAt: Epoch, PID: 100 + slot,
	})
}
