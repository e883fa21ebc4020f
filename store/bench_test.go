package store_test

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/etcd"
	"github.com/holdfast/holdfast/store/mem"
)

func onDisk(b *testing.B) *store.Store {
	b.Helper()
	kv, err := etcd.Start(b.Context(), etcd.Config{Dir: b.TempDir(), Log: slog.New(slog.NewTextHandler(b.Output(), nil))})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { kv.Close() })
	s, err := store.Open(b.Context(), kv)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func writeStatus(b *testing.B, s *store.Store, id string) {
	err := s.Update(b.Context(), func(_ *store.Snapshot, tx *store.Tx) error {
		tx.Put(&holdfast.Status{ID: id, Node: "a", State: holdfast.Running, Ready: true, Since: time.Now()})
		return nil
	})
	if err != nil {
		b.Error(err)
	}
}

// BenchmarkUpdate is one status after the other, each on disk before the next.
func BenchmarkUpdate(b *testing.B) {
	s := onDisk(b)
	for b.Loop() {
		writeStatus(b, s, "r1")
	}
}

// BenchmarkUpdateParallel is 64 writers, each of its own status.
func BenchmarkUpdateParallel(b *testing.B) {
	s := onDisk(b)
	var writers atomic.Int32
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		id := fmt.Sprint("r", writers.Add(1))
		for pb.Next() {
			writeStatus(b, s, id)
		}
	})
}

// BenchmarkSnapshot is one change of a state with 100 000 replicas until the snapshot that shows it is there.
func BenchmarkSnapshot(b *testing.B) {
	kv := mem.New()
	for i := range 100 {
		var ops []store.Op
		for j := range 1000 {
			id := fmt.Sprintf("shop-web-%d-%d", i, j)
			ops = append(ops, store.Op{Key: "holdfast/replicas/" + id, Value: []byte(`{"id":"` + id + `","app":"shop","service":"web","release":1,"desired":"run"}`)})
		}
		if _, err := kv.Commit(b.Context(), nil, ops); err != nil {
			b.Fatal(err)
		}
	}
	s, err := store.Open(b.Context(), kv)
	if err != nil || s.Snapshot().Replicas.Len() != 100_000 {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		writeStatus(b, s, fmt.Sprint("shop-web-1-", i%1000))
	}
}
