package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast/holdfast/gateway/route"
)

// table returns a table of one backend, "b", whose replicas r0, r1, … have the given phases.
func table(phases ...route.Phase) *route.Table {
	b := &route.Backend{Key: "b", App: "a", Service: "s"}
	t := &route.Table{Backends: []*route.Backend{b}}
	for i, p := range phases {
		id := fmt.Sprintf("r%d", i)
		t.Replicas = append(t.Replicas, route.Replica{ID: id, App: "a", Service: "s", Release: 1, Phase: p})
		if p == route.Ready {
			b.Endpoints = append(b.Endpoints, route.Endpoint{
				Replica: id, Release: 1, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80),
			})
		}
	}
	return t
}

func newSet(phases ...route.Phase) (*Set, *Backend) {
	s := New(Options{})
	s.Apply(table(phases...))
	return s, s.View().Backends[0]
}

func TestPickTakesTheLessLoadedOfTwo(t *testing.T) {
	_, b := newSet(route.Ready, route.Ready, route.Ready)
	load := map[string]int{}
	for range 300 {
		load[b.Pick(rand.Uint64(), 0, nil).Replica.ID]++
	}
	for id, n := range load {
		if n < 95 || n > 105 { // with two choices the spread stays small
			t.Errorf("%s has %d of 300 in flight", id, n)
		}
	}
}

func TestPickPrefersTheQuickerWhenItIsTwiceAsQuick(t *testing.T) {
	_, b := newSet(route.Ready, route.Ready)
	slow, quick := (*b.endpoints.Load())[0], (*b.endpoints.Load())[1]
	slow.Answered(30*time.Millisecond, 0)
	quick.Answered(time.Millisecond, 0)
	for range 20 {
		ep := b.Pick(rand.Uint64(), 0, nil)
		if ep != quick {
			t.Fatal("picked the slow one")
		}
		ep.Done()
	}
	// A measurement that is too old counts for nothing.
	seen := map[*Endpoint]bool{}
	for range 100 {
		ep := b.Pick(rand.Uint64(), 2*staleAfter, nil)
		seen[ep] = true
		ep.Done()
	}
	if len(seen) != 2 {
		t.Error("the slow one is never tried again")
	}
}

func TestPickAvoidsAndEjects(t *testing.T) {
	_, b := newSet(route.Ready, route.Ready)
	one, two := (*b.endpoints.Load())[0], (*b.endpoints.Load())[1]
	for range 20 {
		if b.Pick(rand.Uint64(), 0, one) != two {
			t.Fatal("picked what was to be avoided")
		}
	}
	two.Refused(0)
	if b.Pick(1, 0, one) != one {
		t.Error("with no other, what is to be avoided is picked")
	}
	one.Refused(0)
	if ep := b.Pick(1, 0, nil); ep != nil {
		t.Errorf("picked %s, which refuses", ep.Replica.ID)
	}
	if b.Pick(1, 60*time.Millisecond, nil) == nil {
		t.Error("after its pause none is picked")
	}
	for range 10 {
		one.Refused(0)
	}
	if got := time.Duration(one.ejected.Load()); got != 2*time.Second {
		t.Errorf("the pause grows to %v", got)
	}
	one.Connected()
	if !one.usable(0) {
		t.Error("one that connects is still ejected")
	}
}

func TestNothingNewGoesToAReplicaThatIsNotReady(t *testing.T) {
	for _, phase := range []route.Phase{route.Waiting, route.Draining, route.Ended} {
		s, b := newSet(route.Ready)
		ep := b.Pick(0, 0, nil)
		list := b.endpoints.Load() // as a data path that is just picking has it
		s.Apply(table(phase))
		b.endpoints.Store(list)
		if b.Pick(0, 0, nil) != nil {
			t.Errorf("phase %d: picked", phase)
		}
		if n := ep.Replica.InFlight(); n != 1 {
			t.Errorf("phase %d: in flight %d, want the 1 from before", phase, n)
		}
		if left, gone := ep.Replica.Leaving().Err() != nil, ep.Replica.Gone().Err() != nil; left != (phase >= route.Draining) || gone != (phase == route.Ended) {
			t.Errorf("phase %d: leaving %v, gone %v", phase, left, gone)
		}
	}
}

// TestDrainMissesNothing races picks with the drain: once a drain saw nothing in flight, nothing may be.
func TestDrainMissesNothing(t *testing.T) {
	for range 200 {
		s, b := newSet(route.Ready)
		rep := s.Replica("r0")
		var picked *Endpoint
		var all sync.WaitGroup
		all.Go(func() { picked = b.Pick(0, 0, nil) })
		s.Apply(table(route.Draining))
		seen := rep.InFlight()
		all.Wait()
		if picked != nil && seen == 0 {
			t.Fatal("a request went to a replica that was confirmed as drained")
		}
	}
}

func TestOnFallTellsOfTheWayDown(t *testing.T) {
	s, b := newSet(route.Ready)
	one, two := b.Pick(0, 0, nil), b.Pick(0, 0, nil)
	var got []int
	one.Replica.OnFall(func(n int) { got = append(got, n) })
	s.Apply(table(route.Draining))
	one.Done()
	two.Done()
	if fmt.Sprint(got) != "[1 0]" {
		t.Errorf("got %v", got)
	}
}

func TestWaitersAreWokenInOrder(t *testing.T) {
	s, b := newSet(route.Waiting)
	var order []int
	for _, since := range []int{3, 1, 2} {
		w := &Waiter{Since: time.Duration(since), Wake: func() { order = append(order, since) }}
		if queued, err := b.Hold(w, 0); !queued || err != nil {
			t.Fatal(queued, err)
		}
	}
	s.Apply(table(route.Waiting))
	if len(order) != 0 {
		t.Error("woken while nothing is ready")
	}
	s.Apply(table(route.Ready))
	if fmt.Sprint(order) != "[1 2 3]" || b.Waiting() != 0 || s.held.Load() != 0 {
		t.Errorf("order %v, %d waiting, %d bytes held", order, b.Waiting(), s.held.Load())
	}
}

func TestHoldBounds(t *testing.T) {
	s := New(Options{HoldMax: 2, HoldBytes: 3 * heldFloor})
	s.Apply(table(route.Waiting))
	b := s.View().Backends[0]
	hold := func(bytes int64) (*Waiter, error) {
		w := &Waiter{Wake: func() {}, Bytes: bytes}
		_, err := b.Hold(w, 0)
		return w, err
	}
	first, err := hold(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold(3 * heldFloor); !errors.Is(err, ErrHoldFull) {
		t.Errorf("too many bytes: %v", err)
	}
	if _, err := hold(1); err != nil {
		t.Error(err)
	}
	if _, err := hold(1); !errors.Is(err, ErrHoldFull) {
		t.Errorf("too many: %v", err)
	}
	if !b.Unhold(first) || b.Unhold(first) {
		t.Error("Unhold takes out once")
	}
	if _, err := hold(1); err != nil {
		t.Errorf("after one left: %v", err)
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newSet(route.Waiting)
		limit := s.Now() + 10*time.Second
		if _, err := b.Wait(t.Context(), s.Now(), limit, nil); !errors.Is(err, ErrHoldTimeout) || s.Now() < limit {
			t.Errorf("%v after %v", err, s.Now())
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(errors.New("left")) })
		if _, err := b.Wait(ctx, s.Now(), s.Now()+time.Hour, nil); err == nil || err.Error() != "left" {
			t.Errorf("cancelled: %v", err)
		}
		time.AfterFunc(time.Second, func() { s.Apply(table(route.Ready)) })
		ep, err := b.Wait(t.Context(), s.Now(), s.Now()+time.Hour, nil)
		if err != nil {
			t.Fatal(err)
		}
		ep.Refused(s.Now())
		ep.Done()
		before := s.Now()
		if _, err := b.Wait(t.Context(), s.Now(), s.Now()+time.Hour, ep); err != nil || s.Now()-before != 50*time.Millisecond {
			t.Errorf("after a refusal: %v, waited %v", err, s.Now()-before)
		}
		s.Apply(&route.Table{})
		if _, err := b.Wait(t.Context(), s.Now(), s.Now()+time.Hour, nil); !errors.Is(err, ErrIdle) {
			t.Errorf("removed: %v", err)
		}
	})
}

func TestWhatMayBeTriedAgain(t *testing.T) {
	for _, c := range []struct {
		a    Attempt
		want bool
	}{
		{Attempt{}, true},
		{Attempt{Tries: 100}, true}, // nothing was sent
		{Attempt{Sent: true}, false},
		{Attempt{Sent: true, Idempotent: true}, false},
		{Attempt{Sent: true, Replayable: true}, false},
		{Attempt{Sent: true, Idempotent: true, Replayable: true, Tries: 1}, true},
		{Attempt{Sent: true, Idempotent: true, Replayable: true, Tries: maxTries}, false},
		{Attempt{Sent: true, Idempotent: true, Replayable: true, Answered: true, Tries: 1}, false},
	} {
		if got := c.a.May(); got != c.want {
			t.Errorf("%+v: %v", c.a, got)
		}
	}
}

func TestRetryBudget(t *testing.T) {
	_, b := newSet(route.Ready)
	spent := 0
	for b.Spend() {
		spent++
	}
	if spent != 500 {
		t.Errorf("%d retries at once", spent)
	}
	for range 20 {
		b.Earn()
	}
	for spent = 0; b.Spend(); spent++ {
	}
	if spent != 4 {
		t.Errorf("20 requests earn %d retries", spent)
	}
}

func TestTrafficSurvivesANewTable(t *testing.T) {
	s := New(Options{})
	routed := func() *route.Table {
		t := table(route.Ready)
		t.Routes = []*route.Route{{Path: "/", Backend: t.Backends[0]}}
		return t
	}
	s.Apply(routed())
	s.View().Routes[0].Count(200, 3*time.Millisecond, 1, 2)
	s.View().Routes[0].Count(999, time.Hour, 0, 0)
	s.Apply(routed())
	got := s.View().Routes[0].Read()
	if got.Requests() != 2 || got.Classes[2] != 1 || got.Classes[5] != 1 || got.Buckets[4] != 1 || got.Buckets[len(Bounds)] != 1 || got.In != 1 || got.Out != 2 {
		t.Errorf("got %+v", got)
	}
}
