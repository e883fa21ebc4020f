package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// reporter writes statuses to the store: the latest of each replica, as many as there are in one commit, so that a
// slow disk makes larger commits and not a queue.
type reporter struct {
	store State
	log   *slog.Logger

	mu      sync.Mutex
	latest  map[string]report
	wake    chan struct{}
	backoff time.Duration
}

// report is a status to write and the event that tells of it, if one does.
type report struct {
	status holdfast.Status
	events []holdfast.Event
}

func newReporter(s State, log *slog.Logger) *reporter {
	return &reporter{store: s, log: log, latest: map[string]report{}, wake: make(chan struct{}, 1)}
}

// put takes a status for writing soon; a later one of the same replica replaces it, its events are kept.
func (r *reporter) put(status holdfast.Status, events ...holdfast.Event) {
	r.mu.Lock()
	r.latest[status.ID] = report{status, append(r.latest[status.ID].events, events...)}
	r.mu.Unlock()
	r.signal()
}

func (r *reporter) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run writes until ctx ends, and then once more what is left.
func (r *reporter) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			final, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			r.flush(final)
			return context.Cause(ctx)
		case <-r.wake:
		}
		if !r.flush(ctx) {
			r.retryLater(ctx)
		}
	}
}

func (r *reporter) retryLater(ctx context.Context) {
	r.backoff = min(max(2*r.backoff, 50*time.Millisecond), 2*time.Second)
	timer := time.NewTimer(r.backoff)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	r.signal()
}

// flush writes all that is waiting; false when it must be tried again.
func (r *reporter) flush(ctx context.Context) bool {
	r.mu.Lock()
	batch := r.latest
	r.latest = map[string]report{}
	r.mu.Unlock()
	if len(batch) == 0 {
		return true
	}
	if err := r.store.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) error {
		for id, rep := range batch {
			if _, wanted := snap.Replicas.Get(id); !wanted {
				continue // its record was reaped: nobody is interested any more
			}
			tx.Put(&rep.status)
			for _, e := range rep.events {
				tx.Event(e)
			}
		}
		return nil
	}); err != nil {
		r.log.Warn("write statuses", "count", len(batch), "err", fmt.Errorf("commit: %w", err))
		r.keep(batch)
		return false
	}
	r.backoff = 0
	return true
}

// keep puts a batch that was not written back, under what came since.
func (r *reporter) keep(batch map[string]report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, old := range batch {
		newer, ok := r.latest[id]
		if !ok {
			r.latest[id] = old
			continue
		}
		newer.events = append(old.events, newer.events...)
		r.latest[id] = newer
	}
}
