package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast/holdfast"
)

// Store is the typed state. One per process; safe for concurrent use.
type Store struct {
	kv    KV
	now   func() time.Time
	log   *slog.Logger
	ids   eventIDs
	ended <-chan struct{} // the context of Open

	mu      sync.Mutex
	snap    *Snapshot
	changed chan struct{} // closed when snap is replaced
}

// Option changes how Open makes a Store.
type Option func(*Store)

// WithNow makes the store take the time of events from now instead of time.Now.
func WithNow(now func() time.Time) Option { return func(s *Store) { s.now = now } }

// WithLog makes the store report trouble with the engine to log. The default discards it.
func WithLog(log *slog.Logger) Option { return func(s *Store) { s.log = log } }

// Open reads the state from kv and follows it until ctx ends. It returns when the first snapshot is there.
func Open(ctx context.Context, kv KV, opts ...Option) (*Store, error) {
	s := &Store{
		kv: kv, now: time.Now, log: slog.New(slog.DiscardHandler), ids: newEventIDs(),
		ended: ctx.Done(), changed: make(chan struct{}),
	}
	for _, opt := range opts {
		opt(s)
	}
	f := &follower{store: s, state: newState()}
	if err := f.load(ctx); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	go f.run(ctx)
	return s, nil
}

// Snapshot returns the newest snapshot seen.
func (s *Store) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snap
}

// Wait returns the newest snapshot as soon as its revision is above after, or ctx's error. When the store has ended it
// returns ErrUnavailable.
func (s *Store) Wait(ctx context.Context, after int64) (*Snapshot, error) {
	for {
		s.mu.Lock()
		snap, changed := s.snap, s.changed
		s.mu.Unlock()
		if snap.Revision > after {
			return snap, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.ended:
			return nil, holdfast.Errorf(holdfast.ErrUnavailable, "the store is closed")
		}
	}
}

// Update runs change on the newest snapshot and commits what it wrote, atomically and only if nothing that it wrote
// over, and nothing it named with Tx.Depend, has changed since; otherwise it catches up and runs change again, until
// ctx ends. An error of change is returned as it is and nothing is written. After Update returned nil, Snapshot
// shows the change. After ErrUnavailable the change may or may not have been written.
func (s *Store) Update(ctx context.Context, change func(*Snapshot, *Tx) error) error {
	for snap := s.Snapshot(); ; {
		tx := s.begin(snap)
		if err := change(snap, tx); err != nil {
			return err
		}
		conditions, ops, err := tx.finish()
		if err != nil {
			return err
		}
		if len(ops) == 0 {
			return nil
		}
		revision, err := s.kv.Commit(ctx, conditions, ops)
		if err == nil {
			_, err = s.Wait(ctx, revision-1)
			return err
		}
		if !errors.Is(err, holdfast.ErrConflict) {
			return fmt.Errorf("commit: %w", err)
		}
		if snap, err = s.Wait(ctx, snap.Revision); err != nil {
			return err
		}
	}
}

func (s *Store) publish(snap *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap = snap
	close(s.changed)
	s.changed = make(chan struct{})
}
