package loop

import (
	"io"
	"net"
	"os"
	"sync"
)

// handed is a net.Listener of the connections that loops hand over.
type handed struct {
	addr  net.Addr
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func newHanded(addr net.Addr) *handed {
	return &handed{addr: addr, conns: make(chan net.Conn, 1024), ended: make(chan struct{})}
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.ended:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.ended) })
	for {
		select {
		case c := <-h.conns:
			c.Close()
		default:
			return nil
		}
	}
}

func (h *handed) Addr() net.Addr { return h.addr }

// handOver gives c, of which data was read, to package std. The loop forgets it.
func (l *loop) handOver(c *conn, data []byte) {
	s, fd := c.site, c.fd
	first := append([]byte(nil), data...)
	l.release(c)
	defer l.left(s)
	f := os.NewFile(uintptr(fd), "handed over")
	conn, err := net.FileConn(f)
	f.Close() // FileConn has a copy
	if err != nil {
		l.srv.cfg.Log.Error("hand over connection", "err", err)
		return
	}
	if s.closing {
		conn.Close()
		return
	}
	select {
	case s.handed <- &prefixed{TCPConn: conn.(*net.TCPConn), first: first}:
	default:
		conn.Close() // more of them than anybody could serve
	}
}

// left notes that s has a connection less.
func (l *loop) left(s *site) {
	s.conns--
	l.siteDone(s)
}

// prefixed is a connection of which some was read already.
type prefixed struct {
	*net.TCPConn
	first []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.first) == 0 {
		return p.TCPConn.Read(b)
	}
	n := copy(b, p.first)
	p.first = p.first[n:]
	return n, nil
}

// WriteTo makes io.Copy read through Read: what was read already comes first.
func (p *prefixed) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{p})
}
