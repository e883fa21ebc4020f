package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Dialer connects to the other side of Serve.
type Dialer func(ctx context.Context) (net.Conn, error)

// Unix returns a Dialer to a unix socket.
func Unix(path string) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
}

// KV is the client's side: a store.KV. While the other side is away calls fail with ErrUnavailable and watches end; it
// is connected again by the next call.
type KV struct {
	dial Dialer

	mu     sync.Mutex
	idle   []*wire
	open   map[*wire]bool
	closed bool
}

var _ store.KV = (*KV)(nil)

// Dial returns a KV; it connects when it is first used.
func Dial(dial Dialer) *KV { return &KV{dial: dial, open: map[*wire]bool{}} }

// Close ends all watches and leases; calls fail from then on.
func (k *KV) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for w := range k.open {
		w.conn.Close()
	}
	return nil
}

// Range implements store.KV.
func (k *KV) Range(ctx context.Context, prefix string) ([]store.Entry, int64, error) {
	a, err := k.call(ctx, request{Method: methodRange, Prefix: prefix})
	if err != nil {
		return nil, 0, err
	}
	return fromEntries(a.Entries), a.Revision, nil
}

// Commit implements store.KV.
func (k *KV) Commit(ctx context.Context, conditions []store.Condition, ops []store.Op) (int64, error) {
	req := request{Method: methodCommit, Conditions: conditions}
	for _, op := range ops {
		req.Ops = append(req.Ops, operation{op.Key, op.Value, op.Value == nil, op.Lease})
	}
	a, err := k.call(ctx, req)
	return a.Revision, err
}

// Watch implements store.KV.
func (k *KV) Watch(ctx context.Context, prefix string, from int64) (<-chan store.Batch, error) {
	w, err := k.connect(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { w.conn.Close() })
	if _, err := k.ask(w, request{Method: methodWatch, Prefix: prefix, From: from}); err != nil {
		stop()
		k.hangUp(w)
		return nil, err
	}
	batches := make(chan store.Batch)
	go func() {
		defer close(batches)
		defer k.hangUp(w)
		defer stop()
		for {
			var a answer
			if w.read(&a) != nil {
				return
			}
			select {
			case batches <- store.Batch{Revision: a.Revision, Changes: fromEntries(a.Entries)}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return batches, nil
}

// Grant implements store.KV. The lease is lost at the latest when the connection is.
func (k *KV) Grant(ctx context.Context, ttl time.Duration) (store.Lease, error) {
	w, err := k.connect(ctx)
	if err != nil {
		return nil, err
	}
	a, err := k.ask(w, request{Method: methodGrant, TTL: ttl})
	if err != nil {
		k.hangUp(w)
		return nil, err
	}
	l := &lease{kv: k, wire: w, id: a.Lease, lost: make(chan struct{}), revoked: make(chan error, 1)}
	stop := context.AfterFunc(ctx, func() { w.conn.Close() })
	go func() {
		defer close(l.lost)
		defer k.hangUp(w)
		defer stop()
		var a answer
		err := w.read(&a)
		if err == nil {
			err = a.Failure.err()
		}
		l.revoked <- err
	}()
	return l, nil
}

type lease struct {
	kv      *KV
	wire    *wire
	id      int64
	once    sync.Once
	revoked chan error
	lost    chan struct{}
	err     error
}

func (l *lease) ID() int64 { return l.id }

func (l *lease) Lost() <-chan struct{} { return l.lost }

// Revoke implements store.Lease.
func (l *lease) Revoke(ctx context.Context) error {
	l.once.Do(func() {
		if err := l.wire.out.Encode(request{Method: methodRevoke, Lease: l.id}); err != nil {
			return // lost already
		}
		select {
		case l.err = <-l.revoked:
		case <-ctx.Done():
			l.err = context.Cause(ctx)
		}
	})
	return l.err
}

// call sends one request on a pooled connection. One that the other side closed while it was idle is replaced once.
func (k *KV) call(ctx context.Context, req request) (answer, error) {
	w, pooled, err := k.take(ctx)
	if err != nil {
		return answer{}, err
	}
	a, err := k.exchange(ctx, w, req)
	if err != nil && pooled && req.Method == methodRange && errors.Is(err, errBroken) && ctx.Err() == nil {
		if w, err = k.connect(ctx); err != nil {
			return answer{}, err
		}
		a, err = k.exchange(ctx, w, req)
	}
	if errors.Is(err, errBroken) {
		return answer{}, holdfast.Errorf(holdfast.ErrUnavailable, "%s in the store: %w", req.Method, err)
	}
	return a, err
}

// exchange asks on w, and puts it back if it is still good.
func (k *KV) exchange(ctx context.Context, w *wire, req request) (answer, error) {
	stop := context.AfterFunc(ctx, func() { w.conn.Close() })
	a, err := k.ask(w, req)
	if !stop() || errors.Is(err, errBroken) {
		k.hangUp(w)
		if ctx.Err() != nil {
			return answer{}, context.Cause(ctx)
		}
		return a, err
	}
	k.put(w)
	return a, err
}

// errBroken says that the connection ended before the answer came.
var errBroken = errors.New("the connection broke")

func (k *KV) ask(w *wire, req request) (answer, error) {
	if err := w.out.Encode(req); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errBroken, err)
	}
	var a answer
	if err := w.read(&a); err != nil {
		return answer{}, fmt.Errorf("%w: %w", errBroken, err)
	}
	return a, a.Failure.err()
}

func (k *KV) take(ctx context.Context) (w *wire, pooled bool, err error) {
	k.mu.Lock()
	if n := len(k.idle); n > 0 && !k.closed {
		w, k.idle = k.idle[n-1], k.idle[:n-1]
		k.mu.Unlock()
		return w, true, nil
	}
	k.mu.Unlock()
	w, err = k.connect(ctx)
	return w, false, err
}

func (k *KV) connect(ctx context.Context) (*wire, error) {
	conn, err := k.dial(ctx)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "connect to the store: %w", err)
	}
	w := newWire(conn)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		conn.Close()
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "the store is closed")
	}
	k.open[w] = true
	return w, nil
}

func (k *KV) put(w *wire) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle = append(k.idle, w)
}

func (k *KV) hangUp(w *wire) {
	w.conn.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.open, w)
}
