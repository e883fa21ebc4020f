// Package storetest is the contract of store.KV, as a suite that every engine passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Run runs the suite. open returns a new, empty engine; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) store.KV) {
	cases := []struct {
		name string
		test func(*testing.T, store.KV)
	}{
		{"RangeOfNothing", rangeOfNothing},
		{"RangeIsOrderedAndBounded", rangeIsOrdered},
		{"CommitIsAllOrNothing", commitIsAllOrNothing},
		{"CommitDeletes", commitDeletes},
		{"ConditionsHold", conditionsHold},
		{"RevisionsRise", revisionsRise},
		{"ConcurrentCommitsOfOneKey", concurrentCommits},
		{"WatchFromNow", watchFromNow},
		{"WatchFromPast", watchFromPast},
		{"WatchIsBatchedByCommit", watchIsBatched},
		{"WatchEndsWithContext", watchEnds},
		{"LargeValue", largeValue},
		{"LeaseRevoked", leaseRevoked},
		{"LeaseOutlivesItsTTL", leaseKept},
		{"LeaseRunsOut", leaseRunsOut},
		{"Closed", closed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kv := open(t)
			t.Cleanup(func() {
				if err := kv.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			c.test(t, kv)
		})
	}
}

const patience = 20 * time.Second

func commit(t *testing.T, kv store.KV, conditions []store.Condition, ops ...store.Op) int64 {
	t.Helper()
	revision, err := kv.Commit(t.Context(), conditions, ops)
	if err != nil {
		t.Fatalf("commit %v: %v", ops, err)
	}
	return revision
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func ranged(t *testing.T, kv store.KV, prefix string) ([]store.Entry, int64) {
	t.Helper()
	entries, revision, err := kv.Range(t.Context(), prefix)
	if err != nil {
		t.Fatalf("range %q: %v", prefix, err)
	}
	return entries, revision
}

func text(entries []store.Entry) string {
	var s string
	for _, e := range entries {
		if e.Value == nil {
			s += e.Key + "- "
		} else {
			s += fmt.Sprintf("%s=%s ", e.Key, e.Value)
		}
	}
	return s
}

func next(t *testing.T, batches <-chan store.Batch) store.Batch {
	t.Helper()
	select {
	case b, open := <-batches:
		if !open {
			t.Fatal("watch ended")
		}
		return b
	case <-time.After(patience):
		t.Fatal("nothing was delivered")
	}
	return store.Batch{}
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func expectKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("got error %v, want kind %v", err, kind)
	}
}

func rangeOfNothing(t *testing.T, kv store.KV) {
	entries, revision := ranged(t, kv, "a")
	if len(entries) != 0 || revision < 1 {
		t.Errorf("got %v at revision %d, want none at 1 or above", entries, revision)
	}
}

func rangeIsOrdered(t *testing.T, kv store.KV) {
	commit(t, kv, nil, put("a/2", "x"), put("a/10", "y"), put("b", "z"), put("a", "w"), put("a/1", ""))
	entries, _ := ranged(t, kv, "a/")
	expect(t, text(entries), "a/1= a/10=y a/2=x ")
	all, _ := ranged(t, kv, "")
	if len(all) != 5 {
		t.Errorf("range of all: %q", text(all))
	}
}

func commitIsAllOrNothing(t *testing.T, kv store.KV) {
	revision := commit(t, kv, nil, put("a", "1"))
	_, err := kv.Commit(t.Context(), []store.Condition{{Key: "a", Revision: revision}, {Key: "b", Revision: 7}},
		[]store.Op{put("a", "2"), put("c", "3")})
	expectKind(t, err, holdfast.ErrConflict)
	entries, _ := ranged(t, kv, "")
	expect(t, text(entries), "a=1 ")
}

func commitDeletes(t *testing.T, kv store.KV) {
	commit(t, kv, nil, put("a", "1"), put("b", "2"))
	commit(t, kv, nil, store.Op{Key: "a"}, store.Op{Key: "never"}, put("c", "3"))
	entries, _ := ranged(t, kv, "")
	expect(t, text(entries), "b=2 c=3 ")
}

func conditionsHold(t *testing.T, kv store.KV) {
	first := commit(t, kv, []store.Condition{{Key: "a", Revision: 0}}, put("a", "1"))
	_, err := kv.Commit(t.Context(), []store.Condition{{Key: "a", Revision: 0}}, []store.Op{put("a", "2")})
	expectKind(t, err, holdfast.ErrConflict)
	second := commit(t, kv, []store.Condition{{Key: "a", Revision: first}}, put("a", "2"))
	_, err = kv.Commit(t.Context(), []store.Condition{{Key: "a", Revision: first}}, []store.Op{put("a", "3")})
	expectKind(t, err, holdfast.ErrConflict)
	commit(t, kv, []store.Condition{{Key: "a", Revision: second}}, store.Op{Key: "a"})
	commit(t, kv, []store.Condition{{Key: "a", Revision: 0}}, put("a", "4"))
	entries, _ := ranged(t, kv, "")
	expect(t, text(entries), "a=4 ")
}

func revisionsRise(t *testing.T, kv store.KV) {
	_, last := ranged(t, kv, "")
	for i := range 5 {
		revision := commit(t, kv, nil, put("a", fmt.Sprint(i)), put("b", "same"))
		entries, at := ranged(t, kv, "")
		if revision <= last || at != revision || entries[0].Revision != revision || entries[1].Revision != revision {
			t.Fatalf("commit %d after %d: range at %d of %v", revision, last, at, entries)
		}
		last = revision
	}
}

func concurrentCommits(t *testing.T, kv store.KV) {
	start := commit(t, kv, nil, put("n", "0"))
	var won sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			revision, err := kv.Commit(t.Context(), []store.Condition{{Key: "n", Revision: start}},
				[]store.Op{put("n", fmt.Sprint(i))})
			switch {
			case err == nil:
				won.Store(i, revision)
			case !errors.Is(err, holdfast.ErrConflict):
				t.Errorf("commit: %v", err)
			}
		})
	}
	wg.Wait()
	winners := 0
	won.Range(func(i, _ any) bool {
		winners++
		entries, _ := ranged(t, kv, "n")
		expect(t, text(entries), fmt.Sprintf("n=%d ", i))
		return true
	})
	if winners != 1 {
		t.Errorf("%d commits with the same condition succeeded", winners)
	}
}

func watchFromNow(t *testing.T, kv store.KV) {
	revision := commit(t, kv, nil, put("a/old", "1"))
	batches, err := kv.Watch(t.Context(), "a/", revision+1)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, kv, nil, put("b/other", "2"))
	want := commit(t, kv, nil, put("a/new", "3"))
	got := next(t, batches)
	expect(t, text(got.Changes), "a/new=3 ")
	if got.Revision != want {
		t.Errorf("revision %d, want %d", got.Revision, want)
	}
	commit(t, kv, nil, store.Op{Key: "a/new"})
	expect(t, text(next(t, batches).Changes), "a/new- ")
}

func watchFromPast(t *testing.T, kv store.KV) {
	first := commit(t, kv, nil, put("a", "1"))
	commit(t, kv, nil, put("a", "2"))
	commit(t, kv, nil, store.Op{Key: "a"})
	batches, err := kv.Watch(t.Context(), "", first)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for range 3 {
		got += text(next(t, batches).Changes)
	}
	expect(t, got, "a=1 a=2 a- ")
}

func watchIsBatched(t *testing.T, kv store.KV) {
	_, at := ranged(t, kv, "")
	batches, err := kv.Watch(t.Context(), "", at+1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		commit(t, kv, nil, put("a", fmt.Sprint(i)), put("b", fmt.Sprint(i)))
	}
	for i := range 50 {
		expect(t, text(next(t, batches).Changes), fmt.Sprintf("a=%d b=%d ", i, i))
	}
}

func watchEnds(t *testing.T, kv store.KV) {
	ctx, cancel := context.WithCancel(t.Context())
	batches, err := kv.Watch(ctx, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	ended := time.After(patience)
	for {
		select {
		case _, open := <-batches:
			if !open {
				return
			}
		case <-ended:
			t.Fatal("the channel was not closed")
		}
	}
}

func largeValue(t *testing.T, kv store.KV) {
	value := make([]byte, 1<<20)
	for i := range value {
		value[i] = byte(i * 7)
	}
	commit(t, kv, nil, store.Op{Key: "a", Value: value})
	entries, _ := ranged(t, kv, "a")
	if len(entries) != 1 || string(entries[0].Value) != string(value) {
		t.Error("a value of 1 MiB does not come back as it was")
	}
}

func closed(t *testing.T, kv store.KV) {
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := kv.Commit(t.Context(), nil, []store.Op{put("a", "1")})
	expectKind(t, err, holdfast.ErrUnavailable)
	_, _, err = kv.Range(t.Context(), "")
	expectKind(t, err, holdfast.ErrUnavailable)
	_, err = kv.Watch(t.Context(), "", 1)
	expectKind(t, err, holdfast.ErrUnavailable)
	_, err = kv.Grant(t.Context(), time.Second)
	expectKind(t, err, holdfast.ErrUnavailable)
}
