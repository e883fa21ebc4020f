package control_test

import (
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/control"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/etcd"
)

// BenchmarkReact is the time from a node's report that a replica was killed until the node sees its successor, both on
// disk.
func BenchmarkReact(b *testing.B) {
	ctx := b.Context()
	kv, err := etcd.Start(ctx, etcd.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { kv.Close() })
	s, err := store.Open(ctx, kv)
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		if err := control.Run(ctx, control.Config{Store: s, Holder: "a"}); err != nil {
			b.Error(err)
		}
	}()
	if err := s.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) error {
		tx.Put(&holdfast.Node{ID: "a", Name: "a"})
		actions, err := plan.Deploy(snap, holdfast.Deployment{Name: "shop", Services: []holdfast.Spec{{
			Name: "web", Mode: holdfast.Replicated, Replicas: 1, Image: "web:1", Restart: holdfast.Restart{Condition: "any"},
		}}}, time.Now())
		plan.Apply(tx, actions)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	running := nextReplica(b, s, "")
	for b.Loop() {
		if err := s.Update(ctx, func(_ *store.Snapshot, tx *store.Tx) error {
			now := time.Now()
			tx.Put(&holdfast.Status{ID: running, Node: "a", State: holdfast.Failed, ExitCode: 137, Started: now, ReadyAt: now, Finished: now})
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		running = nextReplica(b, s, running)
	}
}

// nextReplica waits for a replica that is to run and is not the given one.
func nextReplica(b *testing.B, s *store.Store, not string) string {
	b.Helper()
	for snap := s.Snapshot(); ; {
		for id, r := range snap.Replicas.All("") {
			if r.Desired == holdfast.Run && id != not {
				return id
			}
		}
		var err error
		if snap, err = s.Wait(b.Context(), snap.Revision); err != nil {
			b.Fatal(err)
		}
	}
}
