package store

import (
	"context"
	"iter"

	"github.com/holdfast/holdfast"
)

// Snapshot is the whole state at one revision. It never changes; tables share structure, so taking one is cheap.
type Snapshot struct {
	Revision int64

	Apps     Table[holdfast.App]     // key: name
	Services Table[holdfast.Service] // key: app/service
	Releases Table[holdfast.Release] // key: app/service/%08d number
	Replicas Table[holdfast.Replica] // key: id
	Statuses Table[holdfast.Status]  // key: replica id
	Drains   Table[holdfast.Drain]   // key: replica id/node id
	Nodes    Table[holdfast.Node]    // key: id
	Files    Table[holdfast.File]    // key: app/name/digest
	Events   Table[holdfast.Event]   // key: id; the newest few thousand
}

// Table is an immutable ordered map from key to *T. Callers must not change what it returns.
type Table[T any] interface {
	Get(key string) (*T, bool)
	Len() int
	// All yields the entries whose key starts with prefix, in key order.
	All(prefix string) iter.Seq2[string, *T]
}

// Store is the typed state. One per process; safe for concurrent use.
type Store struct{}

// Open reads the state from kv and follows it until ctx ends. It returns when the first snapshot is there.
func Open(ctx context.Context, kv KV) (*Store, error) { panic("store: being written") }

// Snapshot returns the newest snapshot seen.
func (s *Store) Snapshot() *Snapshot { panic("store: being written") }

// Wait returns the newest snapshot as soon as its revision is above after, or ctx's error.
func (s *Store) Wait(ctx context.Context, after int64) (*Snapshot, error) {
	panic("store: being written")
}

// Update runs change on the newest snapshot and commits what it wrote, atomically and only if nothing that it wrote
// over, and nothing it named with Tx.Depend, has changed since; otherwise it catches up and runs change again, until
// ctx ends. An error of change is returned as it is and nothing is written. After Update returned nil, Snapshot
// shows the change.
func (s *Store) Update(ctx context.Context, change func(*Snapshot, *Tx) error) error {
	panic("store: being written")
}

// Tx collects the writes of one Update.
type Tx struct{}

// Put writes v, one of *holdfast.App, Service, Release, Replica, Status, Drain, Node, File, under its key.
func (tx *Tx) Put(v any) { panic("store: being written") }

// Delete removes v's key; only its key fields need be set.
func (tx *Tx) Delete(v any) { panic("store: being written") }

// Depend makes the commit fail if v's key changed since the snapshot.
func (tx *Tx) Depend(v any) { panic("store: being written") }

// Event records e; ID and Time are filled in.
func (tx *Tx) Event(e holdfast.Event) { panic("store: being written") }
