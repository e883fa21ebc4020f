package etcd

import (
	"context"
	"errors"
	"math"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Range implements store.KV.
func (e *Engine) Range(ctx context.Context, prefix string) ([]store.Entry, int64, error) {
	if err := e.usable(); err != nil {
		return nil, 0, err
	}
	resp, err := e.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, kindOf(ctx, err)
	}
	out := make([]store.Entry, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		out[i] = entryOf(kv)
	}
	return out, resp.Header.Revision, nil
}

// Commit implements store.KV. When the disk is nearly full it returns ErrUnavailable and writes nothing.
func (e *Engine) Commit(ctx context.Context, conditions []store.Condition, ops []store.Op) (int64, error) {
	if err := e.usable(); err != nil {
		return 0, err
	}
	if err := e.disk.check(); err != nil {
		return 0, err
	}
	resp, err := e.client.Txn(ctx).If(compares(conditions)...).Then(requests(ops)...).Commit()
	if err != nil {
		return 0, e.outcome(ctx, err)
	}
	if !resp.Succeeded {
		return 0, holdfast.Errorf(holdfast.ErrConflict, "the state has changed")
	}
	e.compactAt(resp.Header.Revision)
	return resp.Header.Revision, nil
}

func compares(conditions []store.Condition) []clientv3.Cmp {
	out := make([]clientv3.Cmp, len(conditions))
	for i, c := range conditions {
		out[i] = clientv3.Compare(clientv3.ModRevision(c.Key), "=", c.Revision)
	}
	return out
}

func requests(ops []store.Op) []clientv3.Op {
	out := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		switch {
		case op.Value == nil:
			out[i] = clientv3.OpDelete(op.Key)
		case op.Lease != 0:
			out[i] = clientv3.OpPut(op.Key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Lease)))
		default:
			out[i] = clientv3.OpPut(op.Key, string(op.Value))
		}
	}
	return out
}

// Watch implements store.KV.
func (e *Engine) Watch(ctx context.Context, prefix string, from int64) (<-chan store.Batch, error) {
	if err := e.usable(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	in := e.client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(from))
	out := make(chan store.Batch, 16)
	e.spawn(func() {
		defer close(out)
		defer cancel()
		e.deliver(ctx, in, out)
	})
	return out, nil
}

func (e *Engine) deliver(ctx context.Context, in clientv3.WatchChan, out chan<- store.Batch) {
	for {
		select {
		case resp, open := <-in:
			if !open || resp.Err() != nil || !e.send(ctx, resp.Events, out) {
				return
			}
		case <-ctx.Done():
			return
		case <-e.closing.Done():
			return
		case <-e.fault.happened:
			return
		}
	}
}

// send passes events on, one batch per revision; etcd never splits a revision between two responses.
func (e *Engine) send(ctx context.Context, events []*clientv3.Event, out chan<- store.Batch) bool {
	for len(events) > 0 {
		batch := store.Batch{Revision: events[0].Kv.ModRevision}
		for len(events) > 0 && events[0].Kv.ModRevision == batch.Revision {
			batch.Changes = append(batch.Changes, changeOf(events[0]))
			events = events[1:]
		}
		select {
		case out <- batch:
		case <-ctx.Done():
			return false
		case <-e.closing.Done():
			return false
		}
	}
	return true
}

func changeOf(ev *clientv3.Event) store.Entry {
	entry := entryOf(ev.Kv)
	if ev.Type == clientv3.EventTypeDelete {
		entry.Value = nil
	}
	return entry
}

func entryOf(kv *mvccpb.KeyValue) store.Entry {
	value := kv.Value
	if value == nil {
		value = []byte{}
	}
	return store.Entry{Key: string(kv.Key), Value: value, Revision: kv.ModRevision}
}

// compactAt forgets old revisions now and then, so that the database stays about as large as the state.
func (e *Engine) compactAt(revision int64) {
	if revision-e.compacted.Load() < compactEvery+historyRevisions || !e.compacting.CompareAndSwap(false, true) {
		return
	}
	e.spawn(func() {
		defer e.compacting.Store(false)
		to := revision - historyRevisions
		_, err := e.client.Compact(e.closing, to)
		if err == nil || errors.Is(err, rpctypes.ErrCompacted) {
			e.compacted.Store(to)
		}
	})
}

// outcome is the error of a commit whose request failed with err.
func (e *Engine) outcome(ctx context.Context, err error) error {
	if failed := e.usable(); failed != nil {
		return failed
	}
	return kindOf(ctx, err)
}

// kindOf gives err a kind.
func kindOf(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps),
		errors.Is(err, rpctypes.ErrDuplicateKey):
		return holdfast.Errorf(holdfast.ErrInvalid, "write state: %w", err)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return holdfast.Errorf(holdfast.ErrUnavailable, "state store has reached its limit of %d MiB", quotaBytes>>20)
	}
	return holdfast.Errorf(holdfast.ErrUnavailable, "state store: %w", err)
}

func seconds(d float64) int64 { return int64(math.Ceil(d)) }
