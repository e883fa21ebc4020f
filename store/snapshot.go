package store

import (
	"iter"
	"strings"

	"github.com/tidwall/btree"

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
	Sealed   Table[holdfast.Sealed]  // key: name of the sealing key/name

	leaders Table[leader] // key: name of the office
	marks   Table[mark]   // key: name
}

// Table is an immutable ordered map from key to *T. Callers must not change what it returns.
type Table[T any] interface {
	Get(key string) (*T, bool)
	Len() int
	// All yields the entries whose key starts with prefix, in key order.
	All(prefix string) iter.Seq2[string, *T]
}

// NewSnapshot returns a snapshot of the given nouns, each a pointer that Tx.Put takes, for callers that decide without
// a store: tests, and planning on a made-up state.
func NewSnapshot(revision int64, nouns ...any) *Snapshot {
	st := newState()
	for _, noun := range nouns {
		kind, key := keyOf(noun)
		st.kinds[kind].set(key, noun, revision)
	}
	st.revision = revision
	return st.snapshot()
}

// cell is one entry: a value and the revision of its last change.
type cell[T any] struct {
	value    *T
	revision int64
}

// frozen is the Table of a snapshot.
type frozen[T any] struct {
	cells *btree.Map[string, cell[T]]
}

func (t frozen[T]) Get(key string) (*T, bool) {
	c, ok := t.cells.Get(key)
	return c.value, ok
}

func (t frozen[T]) Len() int { return t.cells.Len() }

func (t frozen[T]) All(prefix string) iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		t.cells.Ascend(prefix, func(key string, c cell[T]) bool {
			return strings.HasPrefix(key, prefix) && yield(key, c.value)
		})
	}
}

// revisionOf returns the revision of key's last change; 0 when it does not exist.
func (t frozen[T]) revisionOf(key string) int64 {
	c, _ := t.cells.Get(key)
	return c.revision
}
