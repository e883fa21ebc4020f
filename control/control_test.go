package control_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/control"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
)

func open(t *testing.T, ctx context.Context, kv store.KV) *store.Store {
	t.Helper()
	s, err := store.Open(ctx, kv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func update(t *testing.T, s *store.Store, change func(*store.Snapshot, *store.Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), change); err != nil {
		t.Error(err)
	}
}

func deploy(t *testing.T, s *store.Store, image string, replicas int) {
	t.Helper()
	update(t, s, func(snap *store.Snapshot, tx *store.Tx) error {
		tx.Put(&holdfast.Node{ID: "a", Name: "a"})
		actions, err := plan.Deploy(snap, holdfast.Deployment{Name: "shop", Services: []holdfast.Spec{{
			Name: "web", Kind: holdfast.Stateless, Mode: holdfast.Replicated, Replicas: replicas, Image: image,
			Restart: holdfast.Restart{Condition: "any", Delay: holdfast.Duration(time.Second)},
			Update:  holdfast.Update{Order: "start-first", Parallelism: 1, Deadline: holdfast.Duration(time.Minute)},
		}}}, time.Now())
		plan.Apply(tx, actions)
		return err
	})
}

// node runs what is assigned to it: each replica is ready after start, but one whose image is "bad" fails then.
type node struct {
	store *store.Store
	start time.Duration
}

func (n *node) run(t *testing.T, ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	known := make(map[string]bool)
	for snap := n.store.Snapshot(); ; {
		for id, r := range snap.Replicas.All("") {
			if key := id + string(r.Desired); !known[key] {
				known[key] = true
				wg.Go(func() { n.obey(t, ctx, r) })
			}
		}
		var err error
		if snap, err = n.store.Wait(ctx, snap.Revision); err != nil {
			return
		}
	}
}

func (n *node) obey(t *testing.T, ctx context.Context, r *holdfast.Replica) {
	if !sleep(ctx, n.start) {
		return
	}
	err := n.store.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) error {
		now := time.Now()
		st := holdfast.Status{ID: r.ID, Node: "a", State: holdfast.Running, Ready: true, Started: now, ReadyAt: now, Since: now}
		rel, _ := snap.Releases.Get(store.ReleaseKey(r.App, r.Service, r.Release))
		was, reported := snap.Statuses.Get(r.ID)
		switch {
		case reported && was.State.Ended():
			return nil
		case r.Desired == holdfast.Stop:
			st.State, st.Ready, st.Finished = holdfast.Stopped, false, now
		case rel.Spec.Image == "bad":
			st = holdfast.Status{ID: r.ID, Node: "a", State: holdfast.Failed, ExitCode: 1, Started: now, Finished: now, Since: now}
		}
		tx.Put(&st)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// until waits for what it returns.
func until(t *testing.T, s *store.Store, what string, is func(*store.Snapshot) bool) *store.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	for snap := s.Snapshot(); ; {
		if is(snap) {
			return snap
		}
		var err error
		if snap, err = s.Wait(ctx, snap.Revision); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// ready counts the replicas of a release that serve.
func ready(snap *store.Snapshot, release int) int {
	n := 0
	for id, r := range snap.Replicas.All("") {
		if st, ok := snap.Statuses.Get(id); ok && st.Ready && r.Desired == holdfast.Run && r.Release == release {
			n++
		}
	}
	return n
}

func phase(snap *store.Snapshot) holdfast.Phase {
	s, _ := snap.Services.Get("shop/web")
	return s.Rollout.Phase
}

// bubble runs test with a store, a node and whatever it starts, in a time of its own.
func bubble(t *testing.T, test func(t *testing.T, ctx context.Context, kv store.KV, s *store.Store)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer synctest.Wait()
		defer cancel()
		kv := mem.New()
		s := open(t, ctx, kv)
		n := &node{store: s, start: 10 * time.Millisecond}
		go n.run(t, ctx)
		test(t, ctx, kv, s)
	})
}

func start(t *testing.T, ctx context.Context, s *store.Store, holder string) (stop context.CancelFunc) {
	ctx, stop = context.WithCancel(ctx)
	go func() {
		if err := control.Run(ctx, control.Config{Store: s, Holder: holder, Seed: 1}); err != nil {
			t.Error(err)
		}
	}()
	return stop
}

func TestDeployHealUpdate(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, _ store.KV, s *store.Store) {
		start(t, ctx, s, "a")
		deploy(t, s, "good", 3)
		snap := until(t, s, "first deploy", func(snap *store.Snapshot) bool { return phase(snap) == holdfast.Done })
		if n := ready(snap, 1); n != 3 {
			t.Fatalf("%d replicas are ready", n)
		}
		time.Sleep(time.Hour)
		began := time.Now()
		crash(t, s)
		until(t, s, "healed", func(snap *store.Snapshot) bool { return ready(snap, 1) == 3 })
		if took := time.Since(began); took != 10*time.Millisecond { // the start of the replica itself
			t.Errorf("healed after %v", took)
		}
		deploy(t, s, "better", 3)
		until(t, s, "update", func(snap *store.Snapshot) bool {
			if n := ready(snap, 1) + ready(snap, 2); n < 3 {
				t.Errorf("only %d replicas serve during the update", n)
			}
			return ready(snap, 2) == 3 && phase(snap) == holdfast.Done
		})
		deploy(t, s, "bad", 3)
		until(t, s, "roll-back", func(snap *store.Snapshot) bool { return phase(snap) == holdfast.RolledBack && ready(snap, 2) == 3 })
	})
}

// crash ends one ready replica.
func crash(t *testing.T, s *store.Store) {
	update(t, s, func(snap *store.Snapshot, tx *store.Tx) error {
		for _, st := range snap.Statuses.All("") {
			if st.Ready {
				ended := *st
				ended.State, ended.Ready, ended.ExitCode, ended.Finished = holdfast.Failed, false, 1, time.Now()
				tx.Put(&ended)
				return nil
			}
		}
		return fmt.Errorf("nothing to crash")
	})
}

func TestBackoffWaitsInTime(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, _ store.KV, s *store.Store) {
		start(t, ctx, s, "a")
		deploy(t, s, "bad", 1)
		snap := until(t, s, "five failures", func(snap *store.Snapshot) bool {
			svc, _ := snap.Services.Get("shop/web")
			return svc.Backoff.Failures == 5
		})
		failures := 0
		var last time.Time
		for _, st := range snap.Statuses.All("") {
			if st.State == holdfast.Failed {
				failures++
			}
			if st.Finished.After(last) {
				last = st.Finished
			}
		}
		first, _ := snap.Services.Get("shop/web")
		// The first failure is free, then 1 s, 2 s and 4 s pass, and 10 ms for each of five starts.
		if took := last.Sub(first.Rollout.Started); failures < 3 || took != 7*time.Second+50*time.Millisecond {
			t.Errorf("%d failures in %v", failures, took)
		}
		if phase(snap) != holdfast.Halted {
			t.Errorf("the rollout is %s", phase(snap))
		}
	})
}

func TestAnotherLeads(t *testing.T) {
	bubble(t, func(t *testing.T, ctx context.Context, kv store.KV, s *store.Store) {
		stop := start(t, ctx, s, "a")
		start(t, ctx, open(t, ctx, kv), "b")
		deploy(t, s, "good", 1)
		until(t, s, "first deploy", func(snap *store.Snapshot) bool { return ready(snap, 1) == 1 })
		holder, _ := s.Snapshot().Leader("control")
		if holder == "a" {
			stop()
		}
		until(t, s, "b leads", func(snap *store.Snapshot) bool { holder, _ := snap.Leader("control"); return holder == "b" })
		deploy(t, s, "better", 2)
		until(t, s, "update by b", func(snap *store.Snapshot) bool { return ready(snap, 2) == 2 })
	})
}

// The controller is stopped and started again at random moments of an update and a roll-back.
func TestRestartAtAnyPoint(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(t *testing.T, ctx context.Context, kv store.KV, s *store.Store) {
			random := rand.New(rand.NewPCG(seed, 0))
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for sleep(ctx, time.Duration(random.IntN(30))*time.Millisecond) {
					life, die := context.WithTimeout(ctx, time.Duration(1+random.IntN(40))*time.Millisecond)
					if err := control.Run(life, control.Config{Store: open(t, life, kv), Holder: "a", TTL: 10 * time.Millisecond}); err != nil {
						t.Error(err)
					}
					die()
				}
			}()
			deploy(t, s, "good", 4)
			until(t, s, "deploy", func(snap *store.Snapshot) bool { return phase(snap) == holdfast.Done })
			deploy(t, s, "bad", 4)
			until(t, s, "roll-back", func(snap *store.Snapshot) bool {
				if n := ready(snap, 1); n < 4 {
					t.Errorf("seed %d: %d replicas serve", seed, n)
				}
				return phase(snap) == holdfast.RolledBack
			})
			deploy(t, s, "better", 2)
			until(t, s, "update", func(snap *store.Snapshot) bool {
				return phase(snap) == holdfast.Done && ready(snap, 3) == 2 && ready(snap, 1) == 0
			})
		})
	}
}
