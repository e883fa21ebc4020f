package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
)

func open(t *testing.T, kv store.KV) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), kv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func update(t *testing.T, s *store.Store, nouns ...any) {
	t.Helper()
	err := s.Update(t.Context(), func(_ *store.Snapshot, tx *store.Tx) error {
		for _, noun := range nouns {
			tx.Put(noun)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func keys[T any](table store.Table[T], prefix string) string {
	var out []string
	for key := range table.All(prefix) {
		out = append(out, key)
	}
	return strings.Join(out, " ")
}

func TestEveryNounIsKept(t *testing.T) {
	kv := mem.New()
	s := open(t, kv)
	update(t, s, &holdfast.App{Name: "shop"}, &holdfast.Service{App: "shop", Name: "web"},
		&holdfast.Release{App: "shop", Service: "web", Number: 12}, &holdfast.Replica{ID: "r1"},
		&holdfast.Status{ID: "r1", State: holdfast.Running}, &holdfast.Drain{Replica: "r1", Node: "n1"},
		&holdfast.Node{ID: "n1"}, &holdfast.File{App: "shop", Name: "key", Digest: "sha256:00", Data: []byte{0, 1}},
		&holdfast.Sealed{Key: "k1", Name: "a/b"})
	for what, snap := range map[string]*store.Snapshot{"writer": s.Snapshot(), "new reader": open(t, kv).Snapshot()} {
		got := strings.Join([]string{
			keys(snap.Apps, ""), keys(snap.Services, ""), keys(snap.Releases, ""), keys(snap.Replicas, ""),
			keys(snap.Statuses, ""), keys(snap.Drains, ""), keys(snap.Nodes, ""), keys(snap.Files, ""), keys(snap.Sealed, ""),
		}, " ")
		if want := "shop shop/web shop/web/00000012 r1 r1 r1/n1 n1 shop/key/sha256:00 k1/a/b"; got != want {
			t.Errorf("%s sees %q, want %q", what, got, want)
		}
		if st, ok := snap.Statuses.Get("r1"); !ok || st.State != holdfast.Running {
			t.Errorf("%s sees status %v", what, st)
		}
	}
}

func TestSnapshotNeverChanges(t *testing.T) {
	s := open(t, mem.New())
	update(t, s, &holdfast.App{Name: "a"}, &holdfast.App{Name: "b"})
	old := s.Snapshot()
	for i := range 200 {
		update(t, s, &holdfast.App{Name: fmt.Sprintf("b%d", i)})
	}
	if err := s.Update(t.Context(), func(_ *store.Snapshot, tx *store.Tx) error {
		tx.Delete(&holdfast.App{Name: "a"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := keys(old.Apps, ""); got != "a b" {
		t.Errorf("the old snapshot now holds %q", got)
	}
	now := s.Snapshot()
	if now.Apps.Len() != 201 || keys(now.Apps, "b19") != "b19 b190 b191 b192 b193 b194 b195 b196 b197 b198 b199" {
		t.Errorf("%d apps, with prefix b19: %q", now.Apps.Len(), keys(now.Apps, "b19"))
	}
}

func TestConcurrentUpdatesAllCount(t *testing.T) {
	s := open(t, mem.New())
	update(t, s, &holdfast.Service{App: "a", Name: "n"})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				err := s.Update(t.Context(), func(snap *store.Snapshot, tx *store.Tx) error {
					was, _ := snap.Services.Get("a/n")
					next := *was
					next.Last++
					tx.Put(&next)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, _ := s.Snapshot().Services.Get("a/n"); got.Last != 400 {
		t.Errorf("400 increments made %d", got.Last)
	}
}

// Two updates each read what the other writes. Without Depend both would go through.
func TestDepend(t *testing.T) {
	s := open(t, mem.New())
	update(t, s, &holdfast.App{Name: "a"})
	runs := 0
	err := s.Update(t.Context(), func(snap *store.Snapshot, tx *store.Tx) error {
		if runs++; runs == 1 {
			update(t, s, &holdfast.App{Name: "a", Removing: true})
		}
		a, _ := snap.Apps.Get("a")
		tx.Depend(a)
		tx.Put(&holdfast.App{Name: fmt.Sprintf("seen-%v", a.Removing)})
		return nil
	})
	if got := keys(s.Snapshot().Apps, ""); err != nil || runs != 2 || got != "a seen-true" {
		t.Errorf("%d runs, %q, %v", runs, got, err)
	}
}

func TestUpdateThatFails(t *testing.T) {
	s := open(t, mem.New())
	refused := errors.New("no")
	if err := s.Update(t.Context(), func(_ *store.Snapshot, tx *store.Tx) error {
		tx.Put(&holdfast.App{Name: "a"})
		return refused
	}); err != refused {
		t.Errorf("got %v", err)
	}
	if err := s.Update(t.Context(), func(_ *store.Snapshot, tx *store.Tx) error {
		tx.Put(&holdfast.Spec{Name: "not a noun"})
		return nil
	}); err == nil {
		t.Error("a Spec was stored")
	}
	if n := s.Snapshot().Apps.Len(); n != 0 {
		t.Errorf("%d apps", n)
	}
}

func TestLastWriteOfAKeyWins(t *testing.T) {
	s := open(t, mem.New())
	if err := s.Update(t.Context(), func(_ *store.Snapshot, tx *store.Tx) error {
		tx.Put(&holdfast.App{Name: "a"})
		tx.Delete(&holdfast.App{Name: "a"})
		tx.Put(&holdfast.App{Name: "b", Removing: true})
		tx.Put(&holdfast.App{Name: "b"})
		tx.Delete(&holdfast.App{Name: "never"})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	b, _ := s.Snapshot().Apps.Get("b")
	if got := keys(s.Snapshot().Apps, ""); got != "b" || b.Removing {
		t.Errorf("apps %q, b %+v", got, b)
	}
}

func TestEventsSortByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, err := store.Open(ctx, mem.New())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if i%3 == 0 {
				time.Sleep(time.Hour)
			}
			if err := s.Update(ctx, func(_ *store.Snapshot, tx *store.Tx) error {
				tx.Event(holdfast.Event{Type: holdfast.ReplicaReady, Message: fmt.Sprint(i)})
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		var got, want []string
		for _, e := range s.Snapshot().Events.All("") {
			got = append(got, e.Message)
			want = append(want, fmt.Sprint(len(want)))
		}
		if !slices.Equal(got, want) {
			t.Errorf("events in order %v", got)
		}
	})
}

// A store whose watch breaks off reads everything again, and misses nothing.
func TestWatchBreaksOff(t *testing.T) {
	kv := &fragile{KV: mem.New()}
	s, other := open(t, kv), open(t, kv.KV)
	for i := range 20 {
		if i%4 == 0 {
			kv.breakWatches()
		}
		update(t, other, &holdfast.App{Name: fmt.Sprintf("a%02d", i)})
		if err := other.Update(t.Context(), func(_ *store.Snapshot, tx *store.Tx) error {
			tx.Delete(&holdfast.App{Name: fmt.Sprintf("a%02d", i-1)})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	want := other.Snapshot().Revision
	snap, err := s.Wait(t.Context(), want-1)
	if err != nil || keys(snap.Apps, "") != "a19" {
		t.Errorf("at %d: %q, %v", snap.Revision, keys(snap.Apps, ""), err)
	}
}

// fragile breaks watches off on demand.
type fragile struct {
	store.KV
	mu    sync.Mutex
	stops []context.CancelFunc
}

func (f *fragile) Watch(ctx context.Context, prefix string, from int64) (<-chan store.Batch, error) {
	ctx, cancel := context.WithCancel(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stops = append(f.stops, cancel)
	return f.KV.Watch(ctx, prefix, from)
}

func (f *fragile) breakWatches() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, stop := range f.stops {
		stop()
	}
	f.stops = nil
}

// Two updates that touch no common key choose the lowest free number; serialized, they do not choose the same.
func TestSerialize(t *testing.T) {
	s := open(t, mem.New())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := s.Update(t.Context(), func(snap *store.Snapshot, tx *store.Tx) error {
				tx.Serialize("numbers")
				tx.Put(&holdfast.Service{App: "a", Name: fmt.Sprint("s", i), Last: snap.Services.Len()})
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	chosen := map[int]bool{}
	for _, svc := range s.Snapshot().Services.All("") {
		chosen[svc.Last] = true
	}
	if len(chosen) != 8 {
		t.Errorf("8 updates chose %d numbers", len(chosen))
	}
	runs := 0
	if err := s.Update(t.Context(), func(_ *store.Snapshot, tx *store.Tx) error {
		if runs++; runs == 1 {
			if err := s.Update(t.Context(), func(_ *store.Snapshot, tx *store.Tx) error { tx.Serialize("numbers"); return nil }); err != nil {
				return err
			}
		}
		tx.DependOn("numbers")
		tx.Put(&holdfast.App{Name: "a"})
		return nil
	}); err != nil || runs != 2 {
		t.Errorf("%d runs, error %v", runs, err)
	}
}
