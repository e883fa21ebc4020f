package loop

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/gateway/access"
	"github.com/holdfast/holdfast/gateway/http1"
	"github.com/holdfast/holdfast/gateway/route"
	"github.com/holdfast/holdfast/gateway/upstream"
)

// exchange is one request on its way and its response.
type exchange struct {
	id      uint64 // tells a late wake-up that the exchange is another by now
	front   *conn
	back    *conn
	view    *upstream.View
	route   *route.Route
	backend *upstream.Backend
	ep      *upstream.Endpoint // counted in flight
	last    *upstream.Endpoint // that was tried
	avoid   *upstream.Endpoint
	waiter  upstream.Waiter
	entry   *access.Entry // nil when nothing is logged
	next    *exchange     // free one
	since   time.Duration
	began   time.Duration // this try
	in, out int64

	// The request as the replica gets it.
	buf    []byte // head, and what was read of the body and is not sent, or kept for another try
	left   int64  // of the body, when not chunked
	chunks http1.Chunks
	sent   int32 // of buf
	tries  int32

	// The response.
	status  int32
	framing framing
	parts   http1.Chunks
	rest    int64 // of the body, when sized

	// Of the request.
	keep       bool // buf holds all that was sent
	sentAll    bool // all of the request was read from the client
	touched    bool // something was sent in this try
	idempotent bool
	head       bool // the method is HEAD
	upgrade    bool
	lastly     bool // the client's connection is closed after the response
	chunked    bool
	fresh      bool // do not use a pooled connection
	held       bool // waits for a replica
	waited     bool

	// Of the response.
	started  bool // its head was passed on
	got      bool // something came
	reusable bool // the replica's connection
	orphan   bool // the replica is gone: only what it said before still comes
}

func (l *loop) newExchange(c *conn) *exchange {
	x := l.xfree
	if x == nil {
		x = &exchange{}
	} else {
		l.xfree = x.next
	}
	l.serial++
	*x = exchange{id: l.serial, front: c, buf: l.buffer(), since: l.now}
	c.x = x
	return x
}

// drop forgets x.
func (l *loop) drop(x *exchange) {
	if x.held {
		x.backend.Unhold(&x.waiter)
	}
	l.putBuffer(x.buf)
	x.front.x = nil
	*x = exchange{next: l.xfree}
	l.xfree = x
}

// describe notes what matters of req later.
func (x *exchange) describe(req *http1.Request) {
	method := text(req.Method)
	x.idempotent = upstream.Idempotent(method)
	x.keep = x.idempotent
	x.head = method == "HEAD"
	x.lastly = req.Close
	x.upgrade = isWebSocket(req.Upgrade)
	x.chunked, x.left = req.Chunked, req.Length
	x.sentAll = !req.HasBody()
}

// take notes p as the next part of the request's body and returns how much of it belongs to it.
func (x *exchange) take(p []byte) (int, error) {
	if x.sentAll {
		return 0, nil
	}
	n := int(min(x.left, int64(len(p))))
	if x.chunked {
		var err error
		if n, x.sentAll, err = x.chunks.Scan(p); err != nil {
			return 0, err
		}
	} else {
		x.left -= int64(n)
		x.sentAll = x.left == 0
	}
	x.in += int64(n)
	return n, nil
}

// dispatch finds a replica for x and begins to send, or holds x, or fails it.
func (l *loop) dispatch(x *exchange) {
	x.sent, x.touched, x.got = 0, false, false
	for {
		if x.waited && l.now-x.since >= l.srv.cfg.Limits.HoldFor {
			x.backend.Refused.Add(1)
			l.fail(x, upstream.ErrHoldTimeout)
			return
		}
		ep := x.backend.Pick(l.rand(), l.now, x.avoid)
		if ep == nil {
			if l.hold(x) {
				return
			}
			continue
		}
		x.ep, x.last, x.began = ep, ep, l.now
		if b := l.pooled(x); b != nil {
			l.attach(x, b)
			b.phase = responseHead
			l.sendRequest(x)
			return
		}
		if l.connect(x) {
			return
		}
		x.waited = true // refused at once: bounded by the time to hold
	}
}

// hold has x wait for a usable replica. It reports false when there is one already.
func (l *loop) hold(x *exchange) bool {
	id := x.id
	x.waiter = upstream.Waiter{Since: x.since, Bytes: int64(cap(x.buf)), Wake: func() { l.post(func() { l.wake(x, id) }) }}
	queued, err := x.backend.Hold(&x.waiter, l.now)
	switch {
	case err != nil:
		x.backend.Refused.Add(1)
		l.fail(x, err)
		return true
	case !queued:
		return false
	}
	if !x.waited {
		x.backend.Held.Add(1)
	}
	x.held, x.waited = true, true
	l.wheel.set(x.front, x.since+l.srv.cfg.Limits.HoldFor)
	return true
}

// wake tries again to find a replica for the exchange that was x.
func (l *loop) wake(x *exchange, id uint64) {
	if x.id != id || !x.held {
		return
	}
	x.held = false
	c := x.front
	gen := c.gen
	l.dispatch(x)
	l.frontResume(c, gen)
}

// connect begins a connection to x's endpoint. It reports false when that failed at once.
func (l *loop) connect(x *exchange) bool {
	fd, err := connect(x.ep.Addr)
	if err == nil {
		if b := l.open(fd, bothEvents); b != nil {
			b.phase = connecting
			l.attach(x, b)
			l.wheel.set(x.front, never)
			l.due(b, l.srv.cfg.Limits.Connect)
			return true
		}
	}
	x.ep.Refused(l.now)
	x.ep.Done()
	x.avoid, x.ep = x.ep, nil
	return false
}

func (l *loop) attach(x *exchange, b *conn) {
	x.back, b.ep, b.peer, x.front.peer = b, x.ep, x.front, b
	b.x = x
}

// sendRequest sends what is to be sent of x now.
func (l *loop) sendRequest(x *exchange) {
	for b := x.back; int(x.sent) < len(x.buf); {
		n, errno := send(b.fd, x.buf[x.sent:])
		switch {
		case errno == unix.EAGAIN:
			l.arm(b)
			l.due(x.front, l.srv.cfg.Limits.Response)
			return
		case errno == unix.EINTR:
			continue
		case errno != 0:
			b.readable = true // it may have answered before it closed: an answer goes first
			l.backRead(b)
			return
		}
		x.sent += int32(n)
		x.touched = true
	}
	if !x.keep {
		x.buf, x.sent = x.buf[:0], 0
	}
	switch {
	case x.started:
	case x.sentAll:
		l.due(x.front, l.srv.cfg.Limits.Response)
	default:
		l.due(x.front, l.srv.cfg.Limits.Stall)
	}
}

// sendBody sends p, the next part of x's body, and keeps it if x may be tried again. It reports whether the exchange goes
// on as it was.
func (l *loop) sendBody(x *exchange, p []byte) bool {
	if len(p) == 0 {
		return true
	}
	if x.keep && len(x.buf)+len(p) > l.srv.cfg.Limits.ReplayBytes {
		x.keep, x.buf, x.sent = false, x.buf[:0], 0
	}
	c, back, gen := x.front, x.back, x.front.gen
	x.buf = append(x.buf, p...)
	l.sendRequest(x)
	return c.gen == gen && c.x == x && x.back == back
}

// finish counts x and ends the replica's part in it.
func (l *loop) finish(x *exchange) {
	if b := x.back; b != nil {
		b.peer, b.x = nil, nil
		l.letGo(b, x.reusable && x.sentAll)
	}
	x.front.peer = nil
	if x.ep != nil {
		x.ep.Done()
	}
	took := l.now - x.since
	x.view.Traffic(x.route).Count(int(x.status), took, x.in, x.out)
	if x.last != nil {
		x.last.Traffic.Count(int(x.status), took, x.in, x.out)
	}
	if x.entry != nil {
		l.log(x, took)
	}
}

// complete ends an exchange whose response was passed on.
func (l *loop) complete(x *exchange) {
	c := x.front
	whole := x.sentAll
	last := x.lastly || c.site.closing || !whole
	l.finish(x)
	l.drop(x)
	l.nextRequest(c, last)
}

// nextRequest makes c ready for its next request, or closes it.
func (l *loop) nextRequest(c *conn, last bool) {
	if last {
		l.closeSoon(c)
		return
	}
	c.phase = readHead
	if c.blocked() {
		l.due(c, l.srv.cfg.Limits.Stall)
		return
	}
	l.due(c, l.srv.cfg.Limits.Idle)
}
