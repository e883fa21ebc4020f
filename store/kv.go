// Package store keeps the state of the cluster: typed tables over a small key-value engine, an immutable in-memory
// snapshot that follows every change, and transactions that are refused when what they read has changed.
//
// Engines live in store/etcd (durable, the default) and store/mem (tests and simulation); store/storetest holds the
// contract that both pass. May import only holdfast (the root) and libraries.
package store

import (
	"context"
	"time"
)

// KV is the engine. Keys are ordered byte strings. Every commit has a revision, larger than all before it.
// All methods are safe for concurrent use.
type KV interface {
	// Range returns all entries whose key starts with prefix, in key order, and the revision they are from.
	Range(ctx context.Context, prefix string) ([]Entry, int64, error)
	// Commit applies ops atomically if all conditions hold, and returns the new revision; durable on return.
	// Returns holdfast.ErrConflict when a condition does not hold, ErrUnavailable when nothing is known to be decided.
	Commit(ctx context.Context, conditions []Condition, ops []Op) (int64, error)
	// Watch delivers the changes of keys that start with prefix, from revision from on, in order; the changes of one
	// commit come in one batch. The channel is closed when ctx ends or the engine can no longer deliver without a
	// gap; Range again then.
	Watch(ctx context.Context, prefix string, from int64) (<-chan Batch, error)
	// Grant makes a lease that removes its keys when it was not kept alive for ttl. It is kept alive until ctx ends.
	Grant(ctx context.Context, ttl time.Duration) (Lease, error)
	Close() error
}

// Lease ties keys to the life of a process.
type Lease interface {
	ID() int64
	// Lost is closed when the lease has run out, at the latest when others may see its keys gone, by the local
	// monotonic clock.
	Lost() <-chan struct{}
	// Revoke removes the lease and its keys now.
	Revoke(ctx context.Context) error
}

// Entry is a key with its value and the revision of its last change.
type Entry struct {
	Key      string
	Value    []byte
	Revision int64
}

// Condition holds when key's last change was at Revision; 0 means that the key does not exist.
type Condition struct {
	Key      string
	Revision int64
}

// Op puts Value at Key, or deletes Key when Value is nil. Lease, when not 0, is the lease the key dies with.
type Op struct {
	Key   string
	Value []byte
	Lease int64
}

// Batch is what one commit changed. A deleted key has a nil Value.
type Batch struct {
	Revision int64
	Changes  []Entry
}
