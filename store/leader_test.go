package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
)

func write(s *store.Store, l *store.Leadership, app string) error {
	return s.Update(context.Background(), func(_ *store.Snapshot, tx *store.Tx) error {
		l.Fence(tx)
		tx.Put(&holdfast.App{Name: app})
		return nil
	})
}

// One holds the office at a time, and the one who lost it can write no more, even before it knows.
func TestOneLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		kv := mem.New()
		a, errA := store.Open(ctx, kv)
		b, errB := store.Open(ctx, kv)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		life, die := context.WithCancel(ctx)
		first, err := a.Campaign(life, "control", "a", 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		won := make(chan *store.Leadership, 1)
		go func() {
			l, err := b.Campaign(ctx, "control", "b", 5*time.Second)
			if err != nil {
				t.Error(err)
			}
			won <- l
		}()
		time.Sleep(time.Minute)
		if holder, _ := a.Snapshot().Leader("control"); len(won) != 0 || holder != "a" {
			t.Fatalf("held by %q while a lives", holder)
		}
		if err := write(a, first, "by-a"); err != nil {
			t.Errorf("the leader's write: %v", err)
		}
		die()
		began := time.Now()
		second := <-won
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("taken over after %v", took)
		}
		<-first.Lost()
		if err := write(a, first, "too-late"); !errors.Is(err, holdfast.ErrConflict) {
			t.Errorf("the old leader's write: %v", err)
		}
		if err := write(b, second, "by-b"); err != nil {
			t.Errorf("the new leader's write: %v", err)
		}
		if got := keys(b.Snapshot().Apps, ""); got != "by-a by-b" {
			t.Errorf("apps %q", got)
		}
		if err := second.Resign(ctx); err != nil {
			t.Fatal(err)
		}
		<-second.Lost()
		if _, held := b.Snapshot().Leader("control"); held {
			synctest.Wait()
			if _, held := b.Snapshot().Leader("control"); held {
				t.Error("held after it was resigned")
			}
		}
	})
}

// A process that was killed leads again as soon as it is back: it need not wait for its own lease to run out.
func TestLeadAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, err := store.Open(ctx, mem.New())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		first, err := s.Campaign(ctx, "control", "a", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.Campaign(ctx, "control", "a", time.Hour)
		if err != nil || time.Since(began) != 0 {
			t.Fatalf("taken again after %v: %v", time.Since(began), err)
		}
		if err := write(s, first, "by-the-dead"); !errors.Is(err, holdfast.ErrConflict) {
			t.Errorf("a write of the life before: %v", err)
		}
		if err := first.Resign(ctx); err != nil {
			t.Fatal(err)
		}
		if err := write(s, second, "by-the-living"); err != nil {
			t.Errorf("a write of this life: %v", err)
		}
	})
}
