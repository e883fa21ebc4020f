package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// follower keeps a Store's snapshot up to date. It alone touches its state.
type follower struct {
	store *Store
	state *state
}

// load replaces the state by what the engine holds now.
func (f *follower) load(ctx context.Context) error {
	entries, revision, err := f.store.kv.Range(ctx, root)
	if err != nil {
		return fmt.Errorf("read all: %w", err)
	}
	f.state.clear()
	f.apply(entries)
	f.state.revision = revision
	f.publish()
	return nil
}

func (f *follower) apply(entries []Entry) {
	for _, e := range entries {
		if err := f.state.apply(e); err != nil {
			f.store.log.Error("skip unreadable entry", slog.Any("err", err))
		}
	}
}

func (f *follower) publish() {
	snap := f.state.snapshot()
	f.store.mu.Lock()
	first := f.store.snap == nil
	if first {
		f.store.snap = snap
	}
	f.store.mu.Unlock()
	if !first {
		f.store.publish(snap)
	}
}

// run applies changes until ctx ends. When the engine's watch breaks off, it reads all again.
func (f *follower) run(ctx context.Context) {
	const firstDelay, maxDelay = 10 * time.Millisecond, 2 * time.Second
	delay := firstDelay
	for {
		if f.watch(ctx) {
			delay = firstDelay
		}
		if pause(ctx, delay) != nil {
			return
		}
		if err := f.load(ctx); err != nil {
			f.store.log.Warn("follow state", slog.Any("err", err), slog.Duration("retry", delay))
			delay = min(2*delay, maxDelay)
		}
	}
}

// watch follows the engine until its watch ends, and reports whether it delivered anything.
func (f *follower) watch(ctx context.Context) (delivered bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches, err := f.store.kv.Watch(ctx, root, f.state.revision+1)
	if err != nil {
		f.store.log.Warn("watch state", slog.Any("err", err))
		return false
	}
	for batch := range batches {
		delivered = true
		f.take(batch)
		f.takeWaiting(batches)
		f.publish()
	}
	return delivered
}

// takeWaiting takes what is there already, so that a burst of commits makes one snapshot.
func (f *follower) takeWaiting(batches <-chan Batch) {
	for {
		select {
		case batch, open := <-batches:
			if !open {
				return
			}
			f.take(batch)
		default:
			return
		}
	}
}

func (f *follower) take(batch Batch) {
	f.apply(batch.Changes)
	f.state.revision = batch.Revision
}

// pause waits for d or until ctx ends; then it returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
