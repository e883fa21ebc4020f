package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast/holdfast"
)

// leader is who holds an office, under the office's name, for as long as its lease lives.
type leader struct {
	Office string `json:"office"`
	Holder string `json:"holder"`
}

// Leadership is an office held by this process. It is held until Lost is closed; what is written through Fence is
// refused from the moment another may hold it.
type Leadership struct {
	key      string
	office   string
	revision int64
	lease    Lease
}

// Campaign waits until office is free and takes it for holder. The office falls free ttl after ctx ended or the process
// died, or at once with Resign. An office that holder has already is its own from a life before, and is taken at once:
// a name must not be used by two processes at a time.
func (s *Store) Campaign(ctx context.Context, office, holder string, ttl time.Duration) (*Leadership, error) {
	for snap := s.Snapshot(); ; {
		if by, taken := snap.leaders.Get(office); !taken || by.Holder == holder {
			l, err := s.take(ctx, snap, office, holder, ttl)
			if !errors.Is(err, holdfast.ErrConflict) {
				return l, err
			}
		}
		var err error
		if snap, err = s.Wait(ctx, snap.Revision); err != nil {
			return nil, err
		}
	}
}

// Leader returns who holds office now.
func (s *Snapshot) Leader(office string) (holder string, ok bool) {
	l, ok := s.leaders.Get(office)
	if !ok {
		return "", false
	}
	return l.Holder, true
}

func (s *Store) take(ctx context.Context, snap *Snapshot, office, holder string, ttl time.Duration) (*Leadership, error) {
	lease, err := s.kv.Grant(ctx, ttl)
	if err != nil {
		return nil, fmt.Errorf("campaign for %s: %w", office, err)
	}
	value, err := json.Marshal(leader{Office: office, Holder: holder})
	if err != nil {
		return nil, fmt.Errorf("encode leader: %w", err)
	}
	l := &Leadership{key: root + leaderKind + "/" + office, office: office, lease: lease}
	l.revision, err = s.kv.Commit(ctx, []Condition{{Key: l.key, Revision: revisionOf(snap, leaderKind, office)}}, []Op{{Key: l.key, Value: value, Lease: lease.ID()}})
	if err == nil {
		_, err = s.Wait(ctx, l.revision-1)
	}
	if err != nil {
		l.abandon(ctx)
		return nil, fmt.Errorf("campaign for %s: %w", office, err)
	}
	return l, nil
}

// abandon gives the lease back even when ctx has ended.
func (l *Leadership) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = l.lease.Revoke(ctx) // it runs out by itself otherwise
}

// Lost is closed when the office may be another's.
func (l *Leadership) Lost() <-chan struct{} { return l.lease.Lost() }

// Resign gives the office up now.
func (l *Leadership) Resign(ctx context.Context) error {
	if err := l.lease.Revoke(ctx); err != nil {
		return fmt.Errorf("resign from %s: %w", l.office, err)
	}
	return nil
}

// Fence makes the transaction fail with ErrConflict unless the office is still held by l.
func (l *Leadership) Fence(tx *Tx) {
	if revisionOf(tx.snap, leaderKind, l.office) != l.revision {
		tx.fail(holdfast.Errorf(holdfast.ErrConflict, "no longer holds the office of %s", l.office))
		return
	}
	tx.conditions[l.key] = l.revision
}
