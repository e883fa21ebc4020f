package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Access is what the clients of Serve may do. A nil function permits everything.
type Access struct {
	Read  func(key string) bool // other keys do not show
	Write func(key string) bool // commits that touch other keys are ErrInvalid
}

// Serve answers on l until ctx ends, and closes l. The caller decides who may connect.
func Serve(ctx context.Context, l net.Listener, kv store.KV, access Access) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept store connection: %w", err)
		}
		conns.Go(func() {
			defer conn.Close()
			hangUp := context.AfterFunc(ctx, func() { conn.Close() })
			defer hangUp()
			s := session{wire: newWire(conn), kv: kv, access: access}
			s.run(ctx)
		})
	}
}

// session is the server's side of one connection.
type session struct {
	*wire
	kv     store.KV
	access Access
}

// run answers requests until the connection ends; how it ends is the client's business.
func (s *session) run(ctx context.Context) {
	for {
		var req request
		if s.read(&req) != nil {
			return
		}
		var err error
		switch req.Method {
		case methodRange:
			err = s.out.Encode(s.answerRange(ctx, req))
		case methodCommit:
			err = s.out.Encode(s.commit(ctx, req))
		case methodWatch:
			s.watch(ctx, req)
			return
		case methodGrant:
			s.grant(ctx, req)
			return
		default:
			err = s.out.Encode(answer{Failure: failureOf(holdfast.Errorf(holdfast.ErrInvalid, "no method %q", req.Method))})
		}
		if err != nil {
			return
		}
	}
}

func (s *session) answerRange(ctx context.Context, req request) answer {
	entries, revision, err := s.kv.Range(ctx, req.Prefix)
	return answer{Revision: revision, Entries: toEntries(entries, s.access.Read), Failure: failureOf(err)}
}

func (s *session) commit(ctx context.Context, req request) answer {
	ops := make([]store.Op, len(req.Ops))
	for i, op := range req.Ops {
		if s.access.Write != nil && !s.access.Write(op.Key) {
			return answer{Failure: failureOf(holdfast.Errorf(holdfast.ErrInvalid, "key %s must not be written from here", op.Key))}
		}
		value := op.Value
		if value == nil && !op.Delete {
			value = []byte{}
		}
		ops[i] = store.Op{Key: op.Key, Value: value, Lease: op.Lease}
	}
	revision, err := s.kv.Commit(ctx, req.Conditions, ops)
	return answer{Revision: revision, Failure: failureOf(err)}
}

// watch streams batches until either side ends.
func (s *session) watch(ctx context.Context, req request) {
	ctx, cancel := s.untilHangUp(ctx)
	defer cancel()
	batches, err := s.kv.Watch(ctx, req.Prefix, req.From)
	if s.out.Encode(answer{Failure: failureOf(err)}) != nil || err != nil {
		return
	}
	for b := range batches {
		changes := toEntries(b.Changes, s.access.Read)
		if s.out.Encode(answer{Revision: b.Revision, Entries: changes}) != nil {
			return
		}
	}
}

// grant holds a lease until the client hangs up or revokes it.
func (s *session) grant(ctx context.Context, req request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lease, err := s.kv.Grant(ctx, req.TTL)
	if err != nil {
		s.out.Encode(answer{Failure: failureOf(err)}) //nolint:errcheck // the connection ends next
		return
	}
	if s.out.Encode(answer{Lease: lease.ID()}) != nil {
		return
	}
	go func() {
		select {
		case <-lease.Lost():
			s.conn.Close()
		case <-ctx.Done():
		}
	}()
	var next request
	if s.read(&next) != nil || next.Method != methodRevoke {
		return
	}
	s.out.Encode(answer{Failure: failureOf(lease.Revoke(ctx))}) //nolint:errcheck // the connection ends next
}

// untilHangUp ends with ctx or when the client closes; a client that watches sends nothing more.
func (s *session) untilHangUp(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		s.conn.Read(make([]byte, 1)) //nolint:errcheck // any end is the end
		cancel(errors.New("the client hung up"))
	}()
	return ctx, func() { cancel(nil) }
}
