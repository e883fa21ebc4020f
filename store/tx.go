package store

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/holdfast/holdfast"
)

// Tx collects the writes of one Update. The last write of a key wins. Not safe for concurrent use.
type Tx struct {
	snap *Snapshot
	now  time.Time
	ids  *eventIDs

	order      []string // keys of ops, in the order of their first write
	ops        map[string]Op
	conditions map[string]int64
	err        error
}

func (s *Store) begin(snap *Snapshot) *Tx {
	return &Tx{
		snap: snap, now: s.now(), ids: &s.ids,
		ops: make(map[string]Op), conditions: make(map[string]int64),
	}
}

// Put writes v, one of *holdfast.App, Service, Release, Replica, Status, Drain, Node, File, Sealed, under its key.
func (tx *Tx) Put(v any) {
	kind, key := tx.depend(v)
	data, err := json.Marshal(v)
	if err != nil {
		tx.fail(fmt.Errorf("encode %s %s: %w", kind, key, err))
		return
	}
	tx.write(Op{Key: root + kind + "/" + key, Value: data})
}

// Delete removes v's key; only its key fields need be set. Removing what is not there is no error.
func (tx *Tx) Delete(v any) {
	kind, key := tx.depend(v)
	tx.write(Op{Key: root + kind + "/" + key})
}

// Depend makes the commit fail if v's key changed since the snapshot.
func (tx *Tx) Depend(v any) { tx.depend(v) }

// Event records e; ID and Time are filled in.
func (tx *Tx) Event(e holdfast.Event) {
	e.Time = tx.now
	e.ID = tx.ids.next(e.Time)
	tx.Put(&e)
}

// mark is written by transactions that must not run side by side.
type mark struct {
	Name string `json:"name"`
}

// Serialize makes transactions that name the same thing run one after the other: each sees what those before it wrote,
// whatever keys they touched. Writing and deciding on what others decide on too (a free address, a free port) need it.
func (tx *Tx) Serialize(name string) { tx.Put(&mark{Name: name}) }

// DependOn makes the commit fail if a transaction that serialized on name was committed since the snapshot.
func (tx *Tx) DependOn(name string) { tx.Depend(&mark{Name: name}) }

// Now returns the time that the transaction's events carry.
func (tx *Tx) Now() time.Time { return tx.now }

func (tx *Tx) depend(v any) (kind, key string) {
	kind, key = keyOf(v)
	if kind == "" || key == "" {
		tx.fail(fmt.Errorf("write %T with key %q: not a noun of the store", v, key))
		return kind, key
	}
	tx.conditions[root+kind+"/"+key] = revisionOf(tx.snap, kind, key)
	return kind, key
}

func (tx *Tx) write(op Op) {
	if _, again := tx.ops[op.Key]; !again {
		tx.order = append(tx.order, op.Key)
	}
	tx.ops[op.Key] = op
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// finish returns what to commit. A key that only was deleted and is not there is left out.
func (tx *Tx) finish() ([]Condition, []Op, error) {
	if tx.err != nil {
		return nil, nil, tx.err
	}
	ops := make([]Op, 0, len(tx.order))
	for _, key := range tx.order {
		if op := tx.ops[key]; op.Value != nil || tx.conditions[key] != 0 {
			ops = append(ops, op)
		}
	}
	conditions := make([]Condition, 0, len(tx.conditions))
	for key, revision := range tx.conditions {
		conditions = append(conditions, Condition{Key: key, Revision: revision})
	}
	return conditions, ops, nil
}

// eventIDs makes IDs that sort by time and differ between processes.
type eventIDs struct {
	process string
	count   *atomic.Uint32
}

func newEventIDs() eventIDs {
	var b [3]byte
	rand.Read(b[:])
	return eventIDs{process: hex.EncodeToString(b[:]), count: new(atomic.Uint32)}
}

func (g *eventIDs) next(at time.Time) string {
	return fmt.Sprintf("%016x-%08x-%s", at.UnixNano(), g.count.Add(1), g.process)
}
