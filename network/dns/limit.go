package dns

import (
	"net"
	"net/netip"
	"sync"
)

// limiter bounds what all askers, and each of them, have going on, so that no replica takes the server from the others.
type limiter struct {
	max, maxEach int

	mu    sync.Mutex // guards the rest
	total int
	each  map[netip.Addr]int
}

func newLimiter(max, maxEach int) *limiter {
	return &limiter{max: max, maxEach: maxEach, each: map[netip.Addr]int{}}
}

// enter reports whether a may have one more; then leave is to be called.
func (l *limiter) enter(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.max || l.each[a] >= l.maxEach {
		return false
	}
	l.total++
	l.each[a]++
	return true
}

func (l *limiter) leave(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.each[a]--; l.each[a] == 0 {
		delete(l.each, a)
	}
}

// limitedListener closes connections beyond the limit as they come.
type limitedListener struct {
	net.Listener
	limit *limiter
}

func (l limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addrOf(c.RemoteAddr())
		if l.limit.enter(from) {
			return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { l.limit.leave(from) })}, nil
		}
		_ = c.Close()
	}
}

type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
