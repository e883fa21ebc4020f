// Package loop is the gateway's HTTP/1.1 data path on event loops of its own: one per core, each with its own epoll,
// listening sockets, connections, buffers and pools of connections to replicas. In the steady state a request allocates
// nothing and shares nothing but the routing table and counters. What is rare (HTTP/1.0, Expect, CONNECT, targets that
// are not paths) is handed to package std, connection and all.
//
//	accept ─► readHead ─► begin ─► dispatch ─┬─► pooled ───────────────► sendRequest ─► responseHead ─► responseBody ─► complete
//	             ▲          │                ├─► connecting ─► connected ──┘    │                │                        │
//	             │          └─► readBody ─►──┴─► hold ─► woken                  └──► backFailed ─┴─► dispatch, fail       │
//	             └────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//
// May import only gateway/{access,http1,route,std,upstream}, the standard library and golang.org/x/sys.
package loop

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/gateway/access"
	"github.com/holdfast/holdfast/gateway/std"
	"github.com/holdfast/holdfast/gateway/upstream"
)

// Config of a Server.
type Config struct {
	Set    *upstream.Set
	Limits upstream.Limits
	Loops  int         // one per CPU
	Std    *std.Server // serves what the loops do not
	Access *access.Log // nil: none
	Log    *slog.Logger
}

// Server serves HTTP on event loops. Safe for concurrent use.
type Server struct {
	cfg     Config
	loops   []*loop
	end     context.CancelFunc
	running sync.WaitGroup
	unwatch func()
}

// New returns a running Server. Close ends it. It may raise the process' GOMAXPROCS.
func New(cfg Config) (*Server, error) {
	cfg.Limits = cfg.Limits.WithDefaults()
	if cfg.Loops == 0 {
		cfg.Loops = runtime.NumCPU()
	}
	spareProcessor(cfg.Loops)
	ctx, end := context.WithCancel(context.Background())
	s := &Server{cfg: cfg, end: end}
	for range cfg.Loops {
		l, err := newLoop(s, rand.Uint64())
		if err != nil {
			for _, l := range s.loops {
				l.destroy()
			}
			end()
			return nil, fmt.Errorf("make event loop: %w", err)
		}
		s.loops = append(s.loops, l)
	}
	for _, l := range s.loops {
		s.running.Go(func() { l.run(ctx) })
	}
	s.unwatch = cfg.Set.Watch(func() {
		for _, l := range s.loops {
			l.post(l.sweep)
		}
	})
	return s, nil
}

// spareProcessor raises GOMAXPROCS above the number of loops. With a processor to spare, Go's scheduler leaves a loop that
// waits in epoll its own; without one it takes it away each time, which costs a busy gateway an eighth of its CPU time.
func spareProcessor(loops int) {
	if want := loops + 2; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
}

// Close ends the loops. The Listeners must have ended before.
func (s *Server) Close() {
	s.unwatch()
	s.end()
	for _, l := range s.loops {
		l.post(l.closeIdle)
	}
	s.running.Wait()
}

// Listener is a listening address of a Server.
type Listener struct {
	srv  *Server
	site std.Site
	addr *net.TCPAddr
	fds  []int32
}

// Listen binds addr; network is tcp, tcp4 or tcp6. It fails when anything else listens there.
func (s *Server) Listen(network, addr string, site std.Site) (*Listener, error) {
	fds, at, err := listenShared(network, addr, len(s.loops))
	if err != nil {
		return nil, err
	}
	return &Listener{srv: s, site: site, addr: at, fds: fds}, nil
}

// Addr returns what the listener is bound to.
func (ln *Listener) Addr() net.Addr { return ln.addr }

// Close unbinds a listener that is not served.
func (ln *Listener) Close() error {
	for _, fd := range ln.fds {
		unix.Close(int(fd))
	}
	return nil
}

// site is a listener as one loop has it.
type site struct {
	std.Site
	fd      int32
	handed  chan<- net.Conn // connections for package std
	closing bool            // no new requests
	conns   int
	done    func() // called once, when closing and the last connection is gone
}

// Serve serves connections until ctx ends; then it takes no more, and gives those it has up to grace to finish what they
// are at.
func (ln *Listener) Serve(ctx context.Context, grace time.Duration) error {
	handed := newHanded(ln.addr)
	var all sync.WaitGroup
	var rest error
	rarer, endRarer := context.WithCancel(context.WithoutCancel(ctx))
	all.Go(func() { rest = ln.srv.cfg.Std.Serve(rarer, handed, ln.site, grace) })
	var loops sync.WaitGroup
	sites := make([]*site, len(ln.fds))
	for i, fd := range ln.fds {
		l := ln.srv.loops[i]
		loops.Add(1)
		sites[i] = &site{Site: ln.site, fd: fd, handed: handed.conns, done: loops.Done}
		l.post(func() { l.addSite(sites[i]) })
	}
	<-ctx.Done()
	endRarer()
	ln.each(sites, (*loop).closeSite)
	limit := time.AfterFunc(grace, func() { ln.each(sites, (*loop).cutSite) })
	defer limit.Stop()
	loops.Wait()
	all.Wait()
	return rest
}

func (ln *Listener) each(sites []*site, f func(*loop, *site)) {
	for i, s := range sites {
		l := ln.srv.loops[i]
		l.post(func() { f(l, s) })
	}
}

func (l *loop) addSite(s *site) {
	if err := epollAdd(l.epoll, s.fd, 0, unix.EPOLLIN); err != nil {
		l.srv.cfg.Log.Error("watch listening socket", "err", err)
		unix.Close(int(s.fd))
		s.done()
		return
	}
	l.sites[s.fd] = s
}

// closeSite takes what was accepted by the kernel already, and no more; idle connections are closed.
func (l *loop) closeSite(s *site) {
	if l.sites[s.fd] != s {
		return
	}
	l.acceptAll(s.fd, s)
	unix.Close(int(s.fd))
	delete(l.sites, s.fd)
	s.closing = true
	l.eachOf(s, func(c *conn) {
		if c.phase == readHead && len(c.in) == 0 && !c.blocked() && !hasMore(c.fd) {
			l.closeFront(c)
		}
	})
	l.siteDone(s)
}

// cutSite closes all connections of s.
func (l *loop) cutSite(s *site) {
	l.eachOf(s, l.abort)
}

func (l *loop) eachOf(s *site, f func(*conn)) {
	for _, c := range l.conns {
		if c != nil && c.front && c.site == s {
			f(c)
		}
	}
}

func (l *loop) siteDone(s *site) {
	if s.closing && s.conns == 0 && s.done != nil {
		s.done()
		s.done = nil
	}
}

// acceptPause is how long nothing is accepted after files or memory ran out.
const acceptPause = 50 * time.Millisecond

// pauseAccept leaves new connections to the kernel's queue for a moment: the loop would only spin.
func (l *loop) pauseAccept(s *site) {
	l.srv.cfg.Log.Warn("out of files or memory: accepting no connections for a moment")
	_ = epollMod(l.epoll, s.fd, 0, 0)
	time.AfterFunc(acceptPause, func() {
		l.post(func() {
			if l.sites[s.fd] == s {
				_ = epollMod(l.epoll, s.fd, 0, unix.EPOLLIN)
			}
		})
	})
}

// acceptAll takes the connections that wait on s.
func (l *loop) acceptAll(fd int32, s *site) {
	var from unix.RawSockaddrAny
	for range 64 { // the event comes again while there are more
		at, errno := accept(fd, &from)
		switch errno {
		case 0:
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			l.pauseAccept(s)
			return
		case unix.ECONNABORTED, unix.EINTR:
			continue
		default:
			return
		}
		c := l.open(at, readEvents)
		if c == nil {
			continue
		}
		c.front, c.site, c.client = true, s, addrOf(&from)
		s.conns++
		l.due(c, l.srv.cfg.Limits.Head)
	}
}
