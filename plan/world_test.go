package plan_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var subnet = netip.MustParsePrefix("10.208.0.0/20")

// world is a cluster whose nodes do what the test says.
type world struct {
	t      *testing.T
	store  *store.Store
	now    time.Time
	random *rand.Rand
	next   time.Time // of the last plan
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: start, random: rand.New(rand.NewPCG(1, 2))}
	var err error
	w.store, err = store.Open(t.Context(), mem.New(), store.WithNow(func() time.Time { return w.now }))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) snap() *store.Snapshot { return w.store.Snapshot() }

func (w *world) put(nouns ...any) {
	w.t.Helper()
	w.update(func(_ *store.Snapshot, tx *store.Tx) error {
		for _, noun := range nouns {
			tx.Put(noun)
		}
		return nil
	})
}

func (w *world) update(change func(*store.Snapshot, *store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), change); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(actions []plan.Action) {
	w.t.Helper()
	w.update(func(_ *store.Snapshot, tx *store.Tx) error {
		plan.Apply(tx, actions)
		return nil
	})
}

// plan plans and applies until there is nothing to do, and returns what was done.
func (w *world) plan() []plan.Action {
	w.t.Helper()
	var done []plan.Action
	for range 20 {
		actions, next := plan.Plan(w.snap(), w.now, w.random)
		w.next = next
		if len(actions) == 0 {
			return done
		}
		w.apply(actions)
		done = append(done, actions...)
	}
	w.t.Fatalf("the plan does not settle; it ends in %v", done[len(done)-4:])
	return nil
}

// replica returns the newest replica of a service in a slot that has not ended.
func (w *world) replica(service string, slot int) *holdfast.Replica {
	w.t.Helper()
	var found *holdfast.Replica
	for id, r := range w.snap().Replicas.All("") {
		st, ok := w.snap().Statuses.Get(id)
		if r.Service != service || r.Slot != slot || ok && st.State.Ended() {
			continue
		}
		if found == nil || !r.Created.Before(found.Created) && r.Desired == holdfast.Run {
			found = r
		}
	}
	if found == nil {
		w.t.Fatalf("no replica of %s in slot %d", service, slot)
	}
	return found
}

// status writes what a node says of a replica.
func (w *world) status(r *holdfast.Replica, change func(*holdfast.Status)) {
	w.t.Helper()
	st := holdfast.Status{ID: r.ID, Node: r.Node}
	if was, ok := w.snap().Statuses.Get(r.ID); ok {
		st = *was
	}
	st.Since = w.now
	change(&st)
	w.put(&st)
}

func (w *world) starting(r *holdfast.Replica) {
	w.status(r, func(st *holdfast.Status) { st.State, st.Started = holdfast.Starting, w.now })
}

func (w *world) ready(r *holdfast.Replica) {
	w.status(r, func(st *holdfast.Status) {
		st.State, st.Ready, st.Started = holdfast.Running, true, w.now
		if st.ReadyAt.IsZero() {
			st.ReadyAt = w.now
		}
	})
}

func (w *world) exit(r *holdfast.Replica, code int) {
	w.status(r, func(st *holdfast.Status) {
		st.State, st.Ready, st.Finished, st.ExitCode = holdfast.Failed, false, w.now, code
		if st.Started.IsZero() {
			st.Started = w.now
		}
		if code == 0 {
			st.State = holdfast.Stopped
		}
	})
}

// settle lets every replica do what it is meant to, at once, until nothing changes.
func (w *world) settle() []plan.Action {
	w.t.Helper()
	done := w.plan()
	for range 200 {
		if !w.obey() {
			return done
		}
		done = append(done, w.plan()...)
	}
	w.t.Fatal("the world does not settle")
	return nil
}

// obey lets the first replica that does not do yet what it is meant to, do it.
func (w *world) obey() bool {
	snap := w.snap()
	for id, r := range snap.Replicas.All("") {
		st, _ := snap.Statuses.Get(id)
		if st == nil {
			st = &holdfast.Status{}
		}
		switch {
		case st.State.Ended():
		case r.Desired == holdfast.Stop:
			w.status(r, func(st *holdfast.Status) { st.State, st.Ready, st.Finished = holdfast.Stopped, false, w.now })
			return true
		case !st.Ready:
			w.ready(r)
			return true
		}
	}
	return false
}

// ps lists the replicas as one line each, the oldest first in each slot.
func (w *world) ps() string {
	var all []*holdfast.Replica
	for _, r := range w.snap().Replicas.All("") {
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b *holdfast.Replica) int {
		if c := strings.Compare(a.Service, b.Service); c != 0 {
			return c
		}
		if a.Slot != b.Slot {
			return a.Slot - b.Slot
		}
		return a.Created.Compare(b.Created)
	})
	var out strings.Builder
	for _, r := range all {
		st, _ := w.snap().Statuses.Get(r.ID)
		state := "-"
		if st != nil {
			state = string(st.State)
			if st.Ready {
				state += ", ready"
			}
		}
		fmt.Fprintf(&out, "%s: release %d on %s, to %s, %s", r.ID, r.Release, r.Node, r.Desired, state)
		if r.StopWhy != "" {
			fmt.Fprintf(&out, " (%s)", r.StopWhy)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func (w *world) service(name string) *holdfast.Service {
	w.t.Helper()
	s, ok := w.snap().Services.Get("shop/" + name)
	if !ok {
		w.t.Fatalf("no service %s", name)
	}
	return s
}

func (w *world) deploy(d holdfast.Deployment) []plan.Action {
	w.t.Helper()
	actions, err := plan.Deploy(w.snap(), d, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.apply(actions)
	return actions
}

// spec is a service as the loader would fill it in.
func spec(name string, change ...func(*holdfast.Spec)) holdfast.Spec {
	s := holdfast.Spec{
		Name: name, Kind: holdfast.Stateless, Mode: holdfast.Replicated, Replicas: 1, Image: name + ":1",
		Restart: holdfast.Restart{
			Condition: "any", Delay: holdfast.Duration(100 * time.Millisecond), MaxDelay: holdfast.Duration(30 * time.Second),
			Window: holdfast.Duration(10 * time.Second),
		},
		Update: holdfast.Update{
			Order: "start-first", Parallelism: 1, Monitor: holdfast.Duration(5 * time.Second), FailureAction: "rollback",
			Deadline: holdfast.Duration(time.Minute),
		},
		Rollback: holdfast.Update{Order: "start-first", FailureAction: "pause", Deadline: holdfast.Duration(time.Minute)},
		Networks: []holdfast.Attachment{{Network: "default"}},
	}
	for _, f := range change {
		f(&s)
	}
	return s
}

func shop(specs ...holdfast.Spec) holdfast.Deployment {
	return holdfast.Deployment{
		Name: "shop", Services: specs,
		Networks: map[string]holdfast.Network{"default": {Name: "shop_default"}},
	}
}

func node(id string) *holdfast.Node {
	return &holdfast.Node{ID: id, Name: "host-" + id, CPUs: 4, MemBytes: 8 << 30, Gateway: true}
}

func expectKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("got error %v, want kind %v", err, kind)
	}
}
