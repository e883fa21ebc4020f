package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast/holdfast/store"
)

func granted(t *testing.T, ctx context.Context, kv store.KV, ttl time.Duration) store.Lease {
	t.Helper()
	lease, err := kv.Grant(ctx, ttl)
	if err != nil {
		t.Fatalf("grant: %v", err)
	}
	return lease
}

func leased(key string, lease store.Lease) store.Op {
	return store.Op{Key: key, Value: []byte("x"), Lease: lease.ID()}
}

func leaseRevoked(t *testing.T, kv store.KV) {
	lease := granted(t, t.Context(), kv, time.Minute)
	other := granted(t, t.Context(), kv, time.Minute)
	commit(t, kv, nil, leased("a", lease), leased("b", other), put("c", "y"))
	if err := lease.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, _ := ranged(t, kv, "")
	expect(t, text(entries), "b=x c=y ")
	isLost(t, lease)
	if err := lease.Revoke(t.Context()); err != nil {
		t.Errorf("revoke again: %v", err)
	}
	if _, err := kv.Commit(t.Context(), nil, []store.Op{leased("d", lease)}); err == nil {
		t.Error("a key was put under a lease that is gone")
	}
}

func leaseKept(t *testing.T, kv store.KV) {
	lease := granted(t, t.Context(), kv, 2*time.Second)
	commit(t, kv, nil, leased("a", lease))
	select {
	case <-lease.Lost():
		t.Error("lost although it was to be kept alive")
	case <-time.After(5 * time.Second):
	}
	entries, _ := ranged(t, kv, "")
	expect(t, text(entries), "a=x ")
}

func leaseRunsOut(t *testing.T, kv store.KV) {
	ctx, cancel := context.WithCancel(t.Context())
	lease := granted(t, ctx, kv, 2*time.Second)
	at := commit(t, kv, nil, leased("a", lease), put("b", "y"))
	batches, err := kv.Watch(t.Context(), "", at+1)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	got := next(t, batches)
	expect(t, text(got.Changes), "a- ")
	isLost(t, lease)
}

func isLost(t *testing.T, lease store.Lease) {
	t.Helper()
	select {
	case <-lease.Lost():
	case <-time.After(patience):
		t.Error("Lost was not closed")
	}
}
