package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Waiter is one request, connection or flow that waits for an endpoint.
type Waiter struct {
	Wake  func()        // called once, when an endpoint may be usable; must not block
	Since time.Duration // when the wait began: the queue's order, kept when a waiter comes back
	Bytes int64         // what it keeps in memory meanwhile

	queued bool
}

// Why a request cannot wait, or waited in vain.
var (
	ErrHoldFull    = errors.New("too many requests are waiting")
	ErrHoldTimeout = errors.New("no replica became ready in time")
	ErrIdle        = errors.New("the service has no replicas")
)

// Hold queues w until an endpoint may be usable. When one is usable already, w is not queued and queued is false without
// an error. ErrHoldFull when the bounds are reached, ErrIdle when nothing is worth waiting for.
func (b *Backend) Hold(w *Waiter, now time.Duration) (queued bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.removed.Load() {
		return false, ErrIdle
	}
	if b.anyUsable(now) {
		return false, nil
	}
	if idle := b.Desc().Idle; idle != "" {
		return false, fmt.Errorf("%w: %s", ErrIdle, idle)
	}
	size := max(w.Bytes, heldFloor)
	if len(b.queue) >= b.set.opt.HoldMax {
		return false, ErrHoldFull
	}
	if b.set.held.Add(size) > b.set.opt.HoldBytes {
		b.set.held.Add(-size)
		return false, ErrHoldFull
	}
	b.enqueue(w)
	return true, nil
}

func (b *Backend) enqueue(w *Waiter) {
	at := len(b.queue)
	for at > 0 && b.queue[at-1].Since > w.Since {
		at--
	}
	b.queue = slices.Insert(b.queue, at, w)
	w.queued = true
}

// Unhold takes w out of the queue. It reports false when Wake was or is being called.
func (b *Backend) Unhold(w *Waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.queued {
		return false
	}
	b.queue = slices.DeleteFunc(b.queue, func(q *Waiter) bool { return q == w })
	b.drop(w)
	return true
}

func (b *Backend) drop(w *Waiter) {
	w.queued = false
	b.set.held.Add(-max(w.Bytes, heldFloor))
}

// Waiting returns how many wait now.
func (b *Backend) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

// wakeAll wakes every waiter, first come first, if an endpoint is usable or waiting became pointless.
func (b *Backend) wakeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return
	}
	if !b.removed.Load() && b.Desc().Idle == "" && !b.anyUsable(b.set.Now()) {
		return
	}
	for _, w := range b.queue {
		b.drop(w)
		w.Wake()
	}
	b.queue = nil
}

// Wait picks an endpoint, holding the caller until one is usable, at the latest until the time deadline. avoid as in
// Pick. Errors are ErrHoldFull, ErrHoldTimeout, ErrIdle or the context's cause.
func (b *Backend) Wait(ctx context.Context, since, deadline time.Duration, avoid *Endpoint) (*Endpoint, error) {
	now := b.set.Now()
	for first := true; ; first = false {
		if ep := b.Pick(rand.Uint64(), now, avoid); ep != nil {
			return ep, nil
		}
		woken := make(chan struct{}, 1)
		w := &Waiter{Wake: func() { woken <- struct{}{} }, Since: since}
		queued, err := b.Hold(w, now)
		if err != nil {
			b.Refused.Add(1)
			return nil, err
		}
		if queued {
			if first {
				b.Held.Add(1)
			}
			if err := b.await(ctx, w, woken, deadline-now); err != nil {
				return nil, err
			}
		}
		if now = b.set.Now(); now >= deadline {
			b.Refused.Add(1)
			return nil, ErrHoldTimeout
		}
	}
}

func (b *Backend) await(ctx context.Context, w *Waiter, woken <-chan struct{}, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-woken:
		return nil
	case <-timer.C:
		b.Unhold(w)
		return nil
	case <-ctx.Done():
		b.Unhold(w)
		return context.Cause(ctx)
	}
}
