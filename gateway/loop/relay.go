package loop

import "golang.org/x/sys/unix"

// startRelay passes on the response that changes the protocol, and from then on bytes both ways. The exchange stays: it
// counts as in flight until both sides closed.
func (l *loop) startRelay(x *exchange, head, first []byte) {
	c, b := x.front, x.back
	c.phase, b.phase = relaying, relaying
	l.wheel.remove(c)
	l.wheel.remove(b)
	l.putBuffer(x.buf)
	x.buf = nil
	x.out += int64(len(first))
	ok := l.write(c, head)
	if ok && len(first) > 0 {
		ok = l.write(c, first)
	}
	if early := c.in; ok && len(early) > 0 { // sent before the protocol changed
		x.in += int64(len(early))
		ok = l.write(b, early)
		l.used(c, len(early))
	}
	if !ok {
		l.abort(c)
		return
	}
	gen := c.gen
	l.relayRead(c)
	if c.gen == gen {
		l.relayRead(b)
	}
}

// relayRead moves bytes from c to its peer, for as long as the peer takes them.
func (l *loop) relayRead(c *conn) {
	p, x := c.peer, c.x
	for i := 0; !p.blocked(); i++ {
		if i == share {
			l.later(c)
			return
		}
		n, ok := l.read(c, l.frontBuf)
		if !ok {
			l.endRelay(c)
			return
		}
		if n == 0 {
			if c.eof {
				l.passEnd(c)
			}
			return
		}
		if c.front {
			x.in += int64(n)
		} else {
			x.out += int64(n)
		}
		if !l.write(p, l.frontBuf[:n]) {
			l.endRelay(c)
			return
		}
	}
}

// relayWritable goes on after all that waited for c was written.
func (l *loop) relayWritable(c *conn) {
	if c.peer.eof {
		l.passEnd(c.peer)
		return
	}
	l.relayRead(c.peer)
}

// passEnd tells c's peer that c sends nothing more.
func (l *loop) passEnd(c *conn) {
	p := c.peer
	if p.blocked() {
		return // told when it is written
	}
	if p.eof || unix.Shutdown(int(p.fd), unix.SHUT_WR) != nil {
		l.endRelay(c)
	}
}

func (l *loop) endRelay(c *conn) {
	if c.front {
		l.abort(c)
	} else {
		l.abort(c.peer)
	}
}

// backRelay handles an event of a replica's connection that is relayed.
func (l *loop) backRelay(b *conn, events uint32) {
	if events&unix.EPOLLOUT != 0 && b.blocked() {
		if !l.flush(b) {
			l.endRelay(b)
			return
		}
		if gen := b.gen; !b.blocked() {
			l.relayWritable(b)
			if b.gen != gen {
				return
			}
		}
	}
	if b.readable {
		l.relayRead(b)
	}
}
