package loop

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/gateway/upstream"
)

// pool holds a loop's idle connections to one endpoint, the one used last at the end.
type pool struct{ idle []*conn }

const (
	poolMax = 512
	// poolIdle is how long a connection to a replica is kept unused.
	poolIdle = 30 * time.Second
	// unsafeIdle is how long it may have been unused to carry a request that must not be repeated: replicas close idle
	// connections when they like.
	unsafeIdle = time.Second
)

// pooled takes an idle connection to x's endpoint; nil when there is none that will do.
func (l *loop) pooled(x *exchange) *conn {
	p := l.pools[x.ep]
	if p == nil || len(p.idle) == 0 || x.fresh {
		return nil
	}
	b := p.idle[len(p.idle)-1]
	if !x.idempotent && l.now-b.idleSince > unsafeIdle {
		return nil
	}
	p.idle = p.idle[:len(p.idle)-1]
	b.reused = true
	return b
}

// letGo puts b into its pool, or closes it.
func (l *loop) letGo(b *conn, reusable bool) {
	if !reusable || b.hup || b.readable || !b.ep.Replica.Ready() {
		l.close(b)
		return
	}
	p := l.pools[b.ep]
	if p == nil {
		p = &pool{}
		l.pools[b.ep] = p
	}
	if len(p.idle) >= poolMax {
		l.close(b)
		return
	}
	b.phase, b.idleSince = idle, l.now
	l.wheel.set(b, l.now+poolIdle)
	p.idle = append(p.idle, b)
}

// unpool closes an idle connection.
func (l *loop) unpool(b *conn) {
	p := l.pools[b.ep]
	for i := len(p.idle) - 1; i >= 0; i-- {
		if p.idle[i] == b {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			break
		}
	}
	l.close(b)
}

func (l *loop) backEvent(b *conn, events uint32) {
	switch b.phase {
	case idle:
		if b.readable {
			l.unpool(b) // closed, or talks without being asked
		}
		return
	case relaying:
		l.backRelay(b, events)
		return
	}
	c, gen, id := b.peer, b.peer.gen, b.gen
	switch {
	case b.phase == connecting:
		l.connected(b)
	case events&unix.EPOLLOUT != 0 && int(b.x.sent) < len(b.x.buf):
		l.sendRequest(b.x)
	}
	if b.gen == id && b.phase != connecting && b.readable {
		l.backRead(b)
	}
	l.frontResume(c, gen)
}

func (l *loop) connected(b *conn) {
	if err := connected(b.fd); err != nil {
		l.backFailed(b, err)
		return
	}
	l.wheel.remove(b)
	b.ep.Connected()
	b.phase = responseHead
	l.sendRequest(b.x)
}

func (l *loop) backTimeout(b *conn) {
	if b.phase == idle {
		l.unpool(b)
		return
	}
	if b.phase == connecting {
		c, gen := b.peer, b.peer.gen
		l.backFailed(b, errConnectTimeout)
		l.frontResume(c, gen)
	}
	// Any other deadline is left over from before: the client's connection has the one that counts.
}

// backRead takes what a replica sent, for as long as the client takes it.
func (l *loop) backRead(b *conn) {
	gen := b.gen
	for i := 0; b.gen == gen && b.x != nil && !b.peer.blocked(); i++ {
		if b.phase == relaying {
			l.relayRead(b)
			return
		}
		if i == share {
			l.later(b)
			return
		}
		n, ok := l.read(b, l.backBuf)
		switch {
		case !ok:
			l.backFailed(b, upstream.ErrBroken)
			return
		case n > 0:
			l.backData(b, l.backBuf[:n])
		case b.eof:
			l.backEnd(b)
			return
		default:
			return
		}
	}
}

// backFailed ends a try: b failed with err. The request is tried again where that is safe.
func (l *loop) backFailed(b *conn, err error) {
	x, c := b.x, b.peer
	ep, refused, stale := x.ep, b.phase == connecting, b.reused && !x.got
	l.close(b)
	x.back, c.peer, x.ep = nil, nil, nil
	if refused {
		ep.Refused(l.now)
	}
	ep.Done()
	if x.started {
		l.abort(c)
		return
	}
	x.fresh = stale
	if !stale {
		x.avoid = ep
		if x.touched {
			x.tries++
		}
	}
	a := upstream.Attempt{
		Sent: x.touched, Answered: x.got, Idempotent: x.idempotent, Replayable: x.keep, Tries: int(x.tries),
	}
	if !a.May() || x.touched && !x.backend.Spend() {
		l.fail(x, err)
		return
	}
	x.waited = x.waited || refused
	l.dispatch(x)
}

// sweep follows a change of the table: idle connections to replicas that left are closed, and what is in flight to those
// that are gone has failed.
func (l *loop) sweep() {
	l.now = l.srv.cfg.Set.Now()
	for ep, p := range l.pools {
		if ep.Replica.Leaving().Err() == nil {
			continue
		}
		for len(p.idle) > 0 {
			l.unpool(p.idle[len(p.idle)-1])
		}
		if ep.Replica.Gone().Err() != nil {
			delete(l.pools, ep)
		}
	}
	for _, b := range l.conns {
		if b != nil && !b.front && b.peer != nil && b.ep.Replica.Gone().Err() != nil {
			l.severBack(b)
		}
	}
}

// severBack ends what b's replica was at when it went. What it said before is passed on, where some of it is here still.
func (l *loop) severBack(b *conn) {
	c, gen := b.peer, b.peer.gen
	switch {
	case b.x.started && (b.hup || hasMore(b.fd)):
		b.x.orphan = true
		l.due(c, l.srv.cfg.Limits.Stall)
	case b.phase == relaying:
		l.abort(c)
	default:
		l.backFailed(b, upstream.ErrGone)
		l.frontResume(c, gen)
	}
}

// closeIdle closes all idle connections to replicas.
func (l *loop) closeIdle() {
	for _, p := range l.pools {
		for len(p.idle) > 0 {
			l.unpool(p.idle[len(p.idle)-1])
		}
	}
}
