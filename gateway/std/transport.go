package std

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast/holdfast/gateway/upstream"
)

// roundTripper sends a request to a replica of its backend: it waits for one, and tries another where that is safe.
type roundTripper struct{ *Server }

func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	set := t.cfg.Set
	since := set.Now()
	deadline := since + t.cfg.Limits.HoldFor
	for {
		ep, err := x.backend.Wait(r.Context(), since, deadline, x.last)
		if err != nil {
			return nil, err
		}
		x.last = ep
		began := set.Now()
		resp, err := t.try(r, x, ep)
		if err == nil {
			now := set.Now()
			ep.Answered(now-began, now)
			return resp, nil
		}
		ep.Done()
		if r.Context().Err() != nil {
			return nil, context.Cause(r.Context())
		}
		if !t.again(r, x, ep, err) {
			return nil, err
		}
	}
}

// again reports whether the request may be tried again after err.
func (t roundTripper) again(r *http.Request, x *exchange, ep *upstream.Endpoint, err error) bool {
	sent := !errors.As(err, new(dialError))
	if sent {
		x.tries++
	} else {
		ep.Refused(t.cfg.Set.Now())
	}
	if errors.Is(err, upstream.ErrSlow) || x.body.failed() != nil {
		return false
	}
	a := upstream.Attempt{
		Sent: sent, Idempotent: upstream.Idempotent(r.Method), Replayable: x.body.replayable(), Tries: x.tries,
		Max: x.route.Attempts(),
	}
	return a.May() && (!sent || x.backend.Spend())
}

// lastWords is how long the rest of a response may be read after its replica is gone.
const lastWords = 2 * time.Second

// try sends the request to ep. The response's body releases ep when it is closed.
func (t roundTripper) try(r *http.Request, x *exchange, ep *upstream.Endpoint) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	stop := context.AfterFunc(ep.Replica.Gone(), func() { cancel(upstream.ErrGone) })
	limit := x.route.Timeout(t.cfg.Limits.Response)
	slow := time.AfterFunc(limit, func() { cancel(upstream.ErrSlow) })
	out := r.WithContext(ctx)
	if x.body != nil {
		out.Body = x.body.try(func() { slow.Reset(limit) })
	}
	resp, err := t.pool(ep).of(r.Method).RoundTrip(out)
	slow.Stop()
	if err != nil {
		stop()
		if cause := context.Cause(ctx); cause != nil && r.Context().Err() == nil {
			err = cause
		}
		cancel(nil)
		return nil, explain(err)
	}
	// What the replica said before it closed is here, most likely: it gets a moment to be passed on.
	stop()
	stop = context.AfterFunc(ep.Replica.Gone(), func() {
		time.AfterFunc(lastWords, func() { cancel(upstream.ErrGone) })
	})
	// From an upgrade on the context does not reach the connection: it is closed by hand.
	flight, end := context.WithCancel(ep.Replica.Gone())
	resp.Body = guard(resp.Body, func() {
		stop()
		end()
		cancel(nil)
		ep.Done()
		t.closeIdle(ep)
	})
	if body := resp.Body; resp.StatusCode == http.StatusSwitchingProtocols {
		context.AfterFunc(flight, func() { body.Close() })
	}
	return resp, nil
}

// explain says in the gateway's words what a transport's error means.
func explain(err error) error {
	switch {
	case errors.As(err, new(dialError)), errors.Is(err, upstream.ErrSlow), errors.Is(err, upstream.ErrGone):
		return err
	case strings.Contains(err.Error(), "malformed"):
		return fmt.Errorf("%w: %w", upstream.ErrBadResponse, err)
	}
	return fmt.Errorf("%w: %w", upstream.ErrBroken, err)
}

// dialError is a connection that could not be made: nothing was sent.
type dialError struct{ err error }

func (e dialError) Error() string { return "connect to the replica: " + e.err.Error() }
func (e dialError) Unwrap() error { return e.err }

// pool holds the idle connections to one endpoint.
type pool struct {
	safe   *http.Transport // for methods that may be repeated
	unsafe *http.Transport // keeps connections for a moment only: a replica closes idle ones when it likes
}

// unsafeIdle is how long a connection may have been idle to carry a request that must not be repeated.
const unsafeIdle = time.Second

func (s *Server) pool(ep *upstream.Endpoint) *pool {
	if p, ok := s.pools.Load(ep); ok {
		return p.(*pool)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: s.cfg.Limits.Connect}
		c, err := d.DialContext(ctx, "tcp", ep.Addr.String())
		if err != nil {
			return nil, dialError{err}
		}
		return c, nil
	}
	p, loaded := s.pools.LoadOrStore(ep, &pool{
		safe: newTransport(dial, 30*time.Second), unsafe: newTransport(dial, unsafeIdle),
	})
	if !loaded {
		context.AfterFunc(ep.Replica.Leaving(), p.(*pool).close)
		context.AfterFunc(ep.Replica.Gone(), func() { s.pools.Delete(ep) })
	}
	return p.(*pool)
}

// closeIdle closes the idle connections to ep if its replica is leaving: one became idle just now.
func (s *Server) closeIdle(ep *upstream.Endpoint) {
	if ep.Replica.Leaving().Err() == nil {
		return
	}
	if p, ok := s.pools.Load(ep); ok {
		p.(*pool).close()
	}
}

func newTransport(dial func(context.Context, string, string) (net.Conn, error), idle time.Duration) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        idle,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func (p *pool) of(method string) *http.Transport {
	if upstream.Idempotent(method) {
		return p.safe
	}
	return p.unsafe
}

func (p *pool) close() {
	p.safe.CloseIdleConnections()
	p.unsafe.CloseIdleConnections()
}

// guard makes closing body call release once. It keeps body writable when it is: that is how an upgraded connection
// comes.
func guard(body io.ReadCloser, release func()) io.ReadCloser {
	g := &guarded{ReadCloser: body, release: release}
	if rw, ok := body.(io.ReadWriteCloser); ok {
		return &guardedConn{guarded: g, Writer: rw}
	}
	return g
}

type guarded struct {
	io.ReadCloser
	release func()
	closed  atomic.Bool
}

func (g *guarded) Close() error {
	err := g.ReadCloser.Close()
	if g.closed.CompareAndSwap(false, true) {
		g.release()
	}
	return err
}

type guardedConn struct {
	*guarded
	io.Writer
}

// CloseWrite passes a half-close on where the connection can do it.
func (g *guardedConn) CloseWrite() error {
	if c, ok := g.ReadCloser.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
