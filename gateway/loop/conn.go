package loop

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/gateway/upstream"
)

// phase of a connection: what is done with what comes in on it.
type phase uint8

const (
	// Of a client's connection.
	readHead phase = iota // a request's head is awaited or half there
	readBody              // a request is being answered, and not all of its body has come
	waiting               // a request is being answered; nothing is read
	linger                // all was said: what still comes is dropped until the client closes

	// Of a replica's connection.
	connecting
	idle         // in a pool
	responseHead // a response is awaited
	responseBody

	// Of both.
	relaying // after an upgrade
)

// conn is one connection. It belongs to one loop.
type conn struct {
	fd    int32
	gen   uint32 // tells events of this connection from those of an earlier one with the same fd
	phase phase

	front    bool // a client's
	readable bool // there may be something to read
	hup      bool // the other side will send nothing more
	eof      bool // and all that it sent was read
	armed    bool // told when it becomes writable
	closing  bool // to be closed when out is written
	reused   bool // a replica's: it has answered before

	seen   int32  // of in: looked at and found not to be a whole head
	outAt  int32  // of out: written
	in     []byte // read and not used yet
	out    []byte // to be written
	peer   *conn  // the other end of the exchange or relay
	x      *exchange
	ep     *upstream.Endpoint // a replica's
	site   *site              // a client's
	client netip.AddrPort     // a client's

	idleSince  time.Duration
	deadline   time.Duration
	tick       int64 // in the wheel; 0: not there
	next, prev *conn
}

const (
	readEvents = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
	bothEvents = readEvents | unix.EPOLLOUT
)

// open makes a connection of fd known to the loop; nil when the loop cannot watch it: fd is closed then.
func (l *loop) open(fd int32, events uint32) *conn {
	for int(fd) >= len(l.conns) {
		l.conns = append(l.conns, nil)
	}
	c := l.free
	if c == nil {
		c = &conn{}
	} else {
		l.free = c.next
		*c = conn{}
	}
	l.gen++
	c.fd, c.gen = fd, l.gen
	if err := epollAdd(l.epoll, fd, c.gen, events); err != nil {
		unix.Close(int(fd))
		c.next, l.free = l.free, c
		return nil
	}
	c.armed = events&unix.EPOLLOUT != 0
	l.conns[fd] = c
	l.live++
	return c
}

// close closes c and forgets it. It does not look at its exchange or pool.
func (l *loop) close(c *conn) {
	fd := c.fd
	l.release(c)
	unix.Close(int(fd))
}

// release forgets c and leaves its file open.
func (l *loop) release(c *conn) {
	l.wheel.remove(c)
	l.conns[c.fd] = nil
	l.live--
	l.putBuffer(c.in)
	l.putBuffer(c.out)
	*c = conn{fd: -1, next: l.free}
	l.free = c
}

const bufferSize = 4 << 10

// buffer returns an empty buffer.
func (l *loop) buffer() []byte {
	if n := len(l.buffers); n > 0 {
		b := l.buffers[n-1]
		l.buffers = l.buffers[:n-1]
		return b
	}
	return make([]byte, 0, bufferSize)
}

// putBuffer takes a buffer back, if it is worth keeping.
func (l *loop) putBuffer(b []byte) {
	if cap(b) >= bufferSize && cap(b) <= 4*bufferSize && len(l.buffers) < 4096 {
		l.buffers = append(l.buffers, b[:0])
	}
}

// keep appends p to what c has unused.
func (l *loop) keep(c *conn, p []byte) {
	if len(p) == 0 {
		return
	}
	if c.in == nil {
		c.in = l.buffer()
	}
	c.in = append(c.in, p...)
}

// used takes n bytes off what c has unused.
func (l *loop) used(c *conn, n int) {
	rest := copy(c.in, c.in[n:])
	if c.in, c.seen = c.in[:rest], 0; rest == 0 {
		l.putBuffer(c.in)
		c.in = nil
	}
}

// read reads into p, as much as there is. It returns 0 when there is nothing now or nothing more: c.eof tells which;
// ok is false when the connection is broken.
func (l *loop) read(c *conn, p []byte) (n int, ok bool) {
	if !c.readable {
		return 0, true
	}
	n, errno := recv(c.fd, p)
	for errno == unix.EINTR {
		n, errno = recv(c.fd, p)
	}
	switch {
	case errno == unix.EAGAIN:
		c.readable = false
		return 0, true
	case errno != 0:
		return 0, false
	case n == 0:
		c.eof, c.readable = true, false
		return 0, true
	case n < len(p) && !c.hup:
		c.readable = false // drained: the next byte makes a new event
	}
	return n, true
}

// blocked reports whether something waits to be written to c.
func (c *conn) blocked() bool { return int(c.outAt) < len(c.out) }

// write sends the parts, none of them empty, now or, what does not fit, when c becomes writable. It reports false when
// the connection is broken.
func (l *loop) write(c *conn, parts ...[]byte) bool {
	if c.blocked() {
		for _, p := range parts {
			c.out = append(c.out, p...)
		}
		return true
	}
	var n int
	errno := unix.EAGAIN
	if len(parts) == 1 {
		n, errno = send(c.fd, parts[0])
	} else {
		n, errno = l.vector.send(c.fd, parts...)
	}
	if errno != 0 {
		if errno != unix.EAGAIN && errno != unix.EINTR {
			return false
		}
		n = 0
	}
	for _, p := range parts {
		if n >= len(p) {
			n -= len(p)
			continue
		}
		if c.out == nil {
			c.out = l.buffer()
		}
		c.out = append(c.out, p[n:]...)
		n = 0
	}
	if c.blocked() {
		l.arm(c)
	}
	return true
}

// flush writes what waits for c. It reports false when the connection is broken.
func (l *loop) flush(c *conn) bool {
	for c.blocked() {
		n, errno := send(c.fd, c.out[c.outAt:])
		switch {
		case errno == unix.EAGAIN:
			l.arm(c)
			return true
		case errno == unix.EINTR:
			continue
		case errno != 0:
			return false
		}
		c.outAt += int32(n)
	}
	l.putBuffer(c.out)
	c.out, c.outAt = nil, 0
	return true
}

// arm has the loop told when c becomes writable.
func (l *loop) arm(c *conn) {
	if !c.armed {
		c.armed = true
		_ = epollMod(l.epoll, c.fd, c.gen, bothEvents) // fails only for an fd that is not there
	}
}

// due sets when c times out.
func (l *loop) due(c *conn, in time.Duration) { l.wheel.set(c, l.now+in) }
