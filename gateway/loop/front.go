package loop

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/gateway/http1"
	"github.com/holdfast/holdfast/gateway/upstream"
)

// lingerFor is how long a client may take to notice that the connection is closed, while what it sends is dropped: a
// close with unread input would destroy the answer on its way.
const lingerFor = 2 * time.Second

// never is a deadline that does not come.
const never = 1 << 20 * time.Hour

func (l *loop) frontEvent(c *conn, events uint32) {
	gen := c.gen
	if events&unix.EPOLLOUT != 0 && c.blocked() && !l.frontWritable(c) {
		return
	}
	if c.gen != gen || !c.readable {
		return
	}
	switch c.phase {
	case relaying:
		l.relayRead(c)
	case linger:
		l.drain(c)
	case waiting:
		if c.hup {
			l.abort(c)
		}
	default:
		l.frontRead(c)
	}
}

// frontWritable writes what waits for the client, and goes on with what waited for that. It reports false when c is gone.
func (l *loop) frontWritable(c *conn) bool {
	if !l.flush(c) {
		l.abort(c)
		return false
	}
	if c.blocked() {
		l.due(c, l.srv.cfg.Limits.Stall)
		return true
	}
	gen := c.gen
	switch {
	case c.closing:
		l.closeNow(c)
	case c.phase == relaying:
		l.relayWritable(c)
	case c.x != nil && c.x.back != nil && c.x.back.readable:
		l.unhurried(c)
		l.backRead(c.x.back)
		l.frontResume(c, gen)
	case c.x != nil:
		l.unhurried(c)
	default:
		l.due(c, l.srv.cfg.Limits.Idle)
		l.frontRead(c)
	}
	return c.gen == gen
}

// unhurried gives c's replica the time it likes for the rest of its response, if it is still there.
func (l *loop) unhurried(c *conn) {
	if c.x.orphan {
		l.due(c, l.srv.cfg.Limits.Stall)
	} else {
		l.wheel.set(c, never)
	}
}

// frontResume goes on with a client's connection after its exchange moved on; gen tells whether it is still there.
func (l *loop) frontResume(c *conn, gen uint32) {
	if c.gen == gen && (c.readable || len(c.in) > 0) {
		l.frontRead(c)
	}
}

// frontRead takes requests from a client for as long as there is input and none is being answered.
func (l *loop) frontRead(c *conn) {
	gen := c.gen
	for n := 0; c.gen == gen && !c.blocked() && !c.closing; n++ {
		if n == share {
			l.later(c)
			return
		}
		switch c.phase {
		case readHead:
			if !l.readHead(c) {
				return
			}
		case readBody:
			if !l.readBody(c) {
				return
			}
		default:
			return
		}
	}
}

// readHead takes what came, and begins a request when its head is complete. It reports false when there is no more.
func (l *loop) readHead(c *conn) bool {
	limit := l.srv.cfg.Limits.HeadBytes
	data := c.in
	if len(c.in) == int(c.seen) {
		n := l.readFront(c)
		if n == 0 {
			return false
		}
		data = l.frontBuf[:n]
		if old := len(c.in); old > 0 {
			l.keep(c, data)
			data = c.in
			if len(data) < limit && !http1.Complete(data, old) {
				c.seen = int32(len(data))
				return true
			}
		}
	}
	ok, err := l.req.Parse(data, limit)
	switch {
	case err != nil:
		l.refuse(c, err.(*http1.Error))
		return false
	case ok:
		l.begin(c, data)
		return true
	}
	if c.seen == 0 {
		l.due(c, l.srv.cfg.Limits.Head)
	}
	if len(c.in) == 0 {
		l.keep(c, data)
	}
	c.seen = int32(len(c.in))
	return true
}

// readFront reads from the client into frontBuf. It ends the connection when that is broken or at its end, and returns 0
// then or when there is nothing to read now.
func (l *loop) readFront(c *conn) int {
	n, ok := l.read(c, l.frontBuf)
	if !ok || n == 0 && c.eof {
		l.abort(c)
		return 0
	}
	return n
}

// begin starts the exchange of the request in l.req, whose head is at the start of data.
func (l *loop) begin(c *conn, data []byte) {
	req := &l.req
	if rare(req) || l.srv.cfg.Std.Clear(c.site.Site, text(req.Host), text(req.Path)) {
		l.handOver(c, data)
		return
	}
	view := l.srv.cfg.Set.View()
	r := c.site.Route(view, text(req.Host), text(req.Path))
	if r == nil {
		a, head := upstream.NoRoute(string(req.Host)), string(req.Method) == "HEAD"
		l.consume(c, data, req.Size)
		l.answer(c, a, head, !req.Close && !req.HasBody())
		return
	}
	if r.Std {
		l.handOver(c, data)
		return
	}
	x := l.newExchange(c)
	x.view, x.route, x.backend = view, r, view.Backend(r)
	x.backend.Earn()
	x.describe(req)
	x.buf = appendHead(x.buf, req, data, x, c.client)
	n, err := x.take(data[req.Size:])
	if err != nil {
		l.drop(x)
		l.refuse(c, err.(*http1.Error))
		return
	}
	x.buf = append(x.buf, data[req.Size:req.Size+n]...)
	l.note(x, req, c)
	l.consume(c, data, req.Size+n)
	if c.phase = waiting; !x.sentAll {
		c.phase = readBody
	}
	l.dispatch(x)
}

// rare reports whether the request is one for package std.
func rare(r *http1.Request) bool {
	return r.Minor == 0 || r.Path == nil || r.Expect || r.Upgrade != nil && r.HasBody() || string(r.Method) == "CONNECT"
}

// text views b as a string without a copy: for look-ups only.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// consume notes that the first n bytes of data, which is c.in or was just read, are used.
func (l *loop) consume(c *conn, data []byte, n int) {
	if len(c.in) > 0 {
		l.used(c, n)
		return
	}
	l.keep(c, data[n:])
}

// readBody passes on the next part of a request's body. It reports false when there is none now, or when the replica has
// to take what it was sent first.
func (l *loop) readBody(c *conn) bool {
	x := c.x
	if x.back == nil || x.back.phase == connecting || int(x.sent) < len(x.buf) {
		return false
	}
	n := l.readFront(c)
	if n == 0 {
		return false
	}
	l.due(c, l.srv.cfg.Limits.Stall)
	data := l.frontBuf[:n]
	n, err := x.take(data)
	if err != nil {
		l.badBody(x, err.(*http1.Error))
		return false
	}
	l.keep(c, data[n:])
	if x.sentAll {
		c.phase = waiting
	}
	return l.sendBody(x, data[:n])
}

// drain drops what a client still sends.
func (l *loop) drain(c *conn) {
	for {
		n, ok := l.read(c, l.frontBuf)
		switch {
		case !ok || c.eof:
			l.closeFront(c)
			return
		case n == 0:
			return
		}
	}
}

func (l *loop) frontTimeout(c *conn) {
	x := c.x
	switch {
	case x == nil || c.blocked() || x.started:
		l.abort(c)
	case x.held:
		x.backend.Unhold(&x.waiter)
		x.held = false
		x.backend.Refused.Add(1)
		l.fail(x, upstream.ErrHoldTimeout)
	case c.phase == readBody && int(x.sent) == len(x.buf):
		l.abort(c)
	default:
		l.fail(x, upstream.ErrSlow)
	}
	// An exchange that failed may have left the connection ready for the next request.
	if c.fd >= 0 && c.phase == readHead {
		l.frontResume(c, c.gen)
	}
}

// closeFront closes a client's connection that has no exchange.
func (l *loop) closeFront(c *conn) {
	s := c.site
	l.close(c)
	l.left(s)
}

// closeSoon closes c once all that waits for it is written.
func (l *loop) closeSoon(c *conn) {
	c.closing = true
	if c.blocked() {
		l.due(c, l.srv.cfg.Limits.Stall)
		return
	}
	l.closeNow(c)
}

// closeNow tells the client that nothing more comes, and waits a moment for it to have read everything.
func (l *loop) closeNow(c *conn) {
	if c.hup || unix.Shutdown(int(c.fd), unix.SHUT_WR) != nil {
		l.closeFront(c)
		return
	}
	c.phase, c.closing = linger, false
	l.due(c, lingerFor)
	if c.readable {
		l.drain(c)
	}
}
