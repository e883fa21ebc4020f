// Package mem is a store engine in memory, for tests and the simulation. It keeps time with the time package, so that
// testing/synctest can run it.
package mem

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// history is how many commits a watch may start in the past.
const history = 10_000

// KV is the engine. Its zero value is not usable; see New.
type KV struct {
	mu       sync.Mutex
	entries  btree.Map[string, entry]
	revision int64
	log      []store.Batch // the newest commits, in order
	changed  chan struct{} // closed at the next commit
	leases   map[int64]*lease
	lastID   int64
	closed   chan struct{}
}

type entry struct {
	store.Entry
	lease int64
}

// New returns an empty engine.
func New() *KV {
	return &KV{
		revision: 1, changed: make(chan struct{}), leases: make(map[int64]*lease), closed: make(chan struct{}),
	}
}

// Range implements store.KV.
func (kv *KV) Range(ctx context.Context, prefix string) ([]store.Entry, int64, error) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if err := kv.usable(ctx); err != nil {
		return nil, 0, err
	}
	var out []store.Entry
	kv.entries.Ascend(prefix, func(key string, e entry) bool {
		if !strings.HasPrefix(key, prefix) {
			return false
		}
		out = append(out, e.Entry)
		return true
	})
	return out, kv.revision, nil
}

// Commit implements store.KV.
func (kv *KV) Commit(ctx context.Context, conditions []store.Condition, ops []store.Op) (int64, error) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if err := kv.usable(ctx); err != nil {
		return 0, err
	}
	for _, c := range conditions {
		if e, _ := kv.entries.Get(c.Key); e.Revision != c.Revision {
			return 0, holdfast.Errorf(holdfast.ErrConflict, "%s has changed", c.Key)
		}
	}
	for _, op := range ops {
		if op.Lease != 0 && kv.leases[op.Lease] == nil {
			return 0, holdfast.Errorf(holdfast.ErrUnavailable, "lease %d has run out", op.Lease)
		}
	}
	return kv.applyLocked(ops), nil
}

func (kv *KV) applyLocked(ops []store.Op) int64 {
	batch := store.Batch{Revision: kv.revision + 1}
	for _, op := range ops {
		e := store.Entry{Key: op.Key, Revision: batch.Revision}
		if op.Value == nil {
			if _, was := kv.entries.Delete(op.Key); !was {
				continue
			}
		} else {
			e.Value = slices.Clone(op.Value)
			kv.entries.Set(op.Key, entry{Entry: e, lease: op.Lease})
		}
		batch.Changes = append(batch.Changes, e)
	}
	if len(batch.Changes) == 0 {
		return kv.revision
	}
	kv.revision = batch.Revision
	kv.log = append(kv.log, batch)
	if len(kv.log) > 2*history {
		kv.log = slices.Clone(kv.log[len(kv.log)-history:])
	}
	close(kv.changed)
	kv.changed = make(chan struct{})
	return kv.revision
}

// Watch implements store.KV.
func (kv *KV) Watch(ctx context.Context, prefix string, from int64) (<-chan store.Batch, error) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if err := kv.usable(ctx); err != nil {
		return nil, err
	}
	out := make(chan store.Batch, 16)
	go kv.deliver(ctx, prefix, from, out)
	return out, nil
}

func (kv *KV) deliver(ctx context.Context, prefix string, next int64, out chan<- store.Batch) {
	defer close(out)
	for {
		batches, changed, gap := kv.since(next)
		if gap {
			return
		}
		for _, batch := range batches {
			next = batch.Revision + 1
			batch.Changes = withPrefix(batch.Changes, prefix)
			if len(batch.Changes) == 0 {
				continue
			}
			select {
			case out <- batch:
			case <-ctx.Done():
				return
			case <-kv.closed:
				return
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-kv.closed:
			return
		}
	}
}

// since returns the commits from revision next on; gap when some of them are forgotten.
func (kv *KV) since(next int64) (batches []store.Batch, changed <-chan struct{}, gap bool) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	at, _ := slices.BinarySearchFunc(kv.log, next, func(b store.Batch, revision int64) int {
		return cmp.Compare(b.Revision, revision)
	})
	const first = 2 // the revision of the first commit
	gap = len(kv.log) > 0 && next < kv.log[0].Revision && kv.log[0].Revision > first
	return slices.Clone(kv.log[at:]), kv.changed, gap
}

func withPrefix(changes []store.Entry, prefix string) []store.Entry {
	var out []store.Entry
	for _, e := range changes {
		if strings.HasPrefix(e.Key, prefix) {
			out = append(out, e)
		}
	}
	return out
}

// Close implements store.KV.
func (kv *KV) Close() error {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	select {
	case <-kv.closed:
	default:
		close(kv.closed)
		for _, l := range kv.leases {
			l.endLocked()
		}
	}
	return nil
}

func (kv *KV) usable(ctx context.Context) error {
	select {
	case <-kv.closed:
		return holdfast.Errorf(holdfast.ErrUnavailable, "the engine is closed")
	default:
		return ctx.Err()
	}
}

// Grant implements store.KV.
func (kv *KV) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	kv.mu.Lock()
	defer kv.mu.Unlock()
	if err := kv.usable(ctx); err != nil {
		return nil, err
	}
	kv.lastID++
	l := &lease{kv: kv, id: kv.lastID, lost: make(chan struct{})}
	kv.leases[l.id] = l
	l.stop = context.AfterFunc(ctx, func() { l.expireIn(ttl) })
	return l, nil
}

type lease struct {
	kv    *KV
	id    int64
	lost  chan struct{}
	stop  func() bool
	timer *time.Timer
}

func (l *lease) ID() int64             { return l.id }
func (l *lease) Lost() <-chan struct{} { return l.lost }

// Revoke implements store.Lease.
func (l *lease) Revoke(context.Context) error {
	l.kv.mu.Lock()
	defer l.kv.mu.Unlock()
	l.endLocked()
	return nil
}

func (l *lease) expireIn(ttl time.Duration) {
	l.kv.mu.Lock()
	defer l.kv.mu.Unlock()
	if l.kv.leases[l.id] == l {
		l.timer = time.AfterFunc(ttl, func() { _ = l.Revoke(context.Background()) })
	}
}

// endLocked removes the lease and its keys.
func (l *lease) endLocked() {
	if l.kv.leases[l.id] != l {
		return
	}
	delete(l.kv.leases, l.id)
	l.stop()
	if l.timer != nil {
		l.timer.Stop()
	}
	close(l.lost)
	var ops []store.Op
	l.kv.entries.Scan(func(key string, e entry) bool {
		if e.lease == l.id {
			ops = append(ops, store.Op{Key: key})
		}
		return true
	})
	l.kv.applyLocked(ops)
}
