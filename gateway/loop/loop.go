package loop

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/gateway/http1"
	"github.com/holdfast/holdfast/gateway/upstream"
)

// loop is one event loop: a goroutine with connections, pools and buffers of its own.
type loop struct {
	srv    *Server
	epoll  int
	wakeup int // eventfd
	now    time.Duration

	conns   []*conn // by fd
	live    int
	gen     uint32
	free    *conn
	buffers [][]byte
	xfree   *exchange
	wheel   wheel
	pools   map[*upstream.Endpoint]*pool
	sites   map[int32]*site // by listening fd
	todo    []unfinished
	random  uint64
	serial  uint64 // of exchanges

	frontBuf []byte // what is read from a client
	backBuf  []byte // what is read from a replica
	head     []byte // a response's head as it is written
	vector   vector
	req      http1.Request
	resp     http1.Response

	mu    sync.Mutex
	dead  bool
	mail  []func()
	inbox []func() // the mail that is being read
}

const readSize = 64 << 10

func newLoop(srv *Server, seed uint64) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	wakeup, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(epoll)
		return nil, err
	}
	l := &loop{
		srv: srv, epoll: epoll, wakeup: wakeup, random: seed | 1,
		pools:    map[*upstream.Endpoint]*pool{},
		sites:    map[int32]*site{},
		frontBuf: make([]byte, readSize), backBuf: make([]byte, readSize), head: make([]byte, 0, 8<<10),
	}
	if err := epollAdd(epoll, int32(wakeup), 0, unix.EPOLLIN|unix.EPOLLET); err != nil {
		l.destroy()
		return nil, err
	}
	return l, nil
}

func (l *loop) destroy() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	unix.Close(l.epoll)
	unix.Close(l.wakeup)
}

// post has f run by the loop, unless the loop has ended. It may be called from anywhere.
func (l *loop) post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	if l.mail = append(l.mail, f); len(l.mail) == 1 {
		one := [8]byte{0: 1}
		_, _ = unix.Write(l.wakeup, one[:]) // can only fail when a wake-up is pending already
	}
}

func (l *loop) readMail() {
	var count [8]byte
	_, _ = unix.Read(l.wakeup, count[:]) // an empty counter is no matter
	l.mu.Lock()
	l.inbox, l.mail = l.mail, l.inbox[:0]
	l.mu.Unlock()
	for i, f := range l.inbox {
		f()
		l.inbox[i] = nil
	}
}

// goschedEvery is how long the loop may run without giving the scheduler a turn. The scheduler would take one by force
// after 10 ms, and watch the process more closely, and dearly, from then on.
const goschedEvery = 8 * time.Millisecond

// worthPolling is how many events a round must have had for more to be likely at once: then a look without waiting saves
// the scheduler's part in a wait; otherwise it would be a call for nothing.
const worthPolling = 4

// run serves until ctx ends and no connection is left.
func (l *loop) run(ctx context.Context) {
	defer l.destroy()
	events := make([]unix.EpollEvent, 256)
	busy, turn := false, time.Duration(0)
	for {
		l.now = l.srv.cfg.Set.Now()
		l.wheel.due(l.now, l.timeout)
		if ctx.Err() != nil && l.live == 0 && len(l.sites) == 0 {
			return
		}
		n := 0
		if l.now-turn > goschedEvery {
			turn = l.now
			runtime.Gosched()
		}
		if busy || len(l.todo) > 0 {
			n = epollNow(l.epoll, events)
		}
		if n == 0 && len(l.todo) == 0 {
			n = l.block(events)
		}
		busy = n >= worthPolling
		for i := range events[:n] {
			l.handle(&events[i])
		}
		l.goOn()
	}
}

// share is how many reads or requests a connection may have in a row while others wait.
const share = 16

// unfinished is a connection that had its share and has more to do.
type unfinished struct {
	conn *conn
	gen  uint32
}

// later has goOn resume c after all others had their turn.
func (l *loop) later(c *conn) { l.todo = append(l.todo, unfinished{c, c.gen}) }

// goOn resumes the connections that were put off before it was called.
func (l *loop) goOn() {
	n := len(l.todo)
	for i := range n {
		c, gen := l.todo[i].conn, l.todo[i].gen
		switch {
		case c.gen != gen:
		case c.phase == relaying:
			l.relayRead(c)
		case c.front:
			l.frontRead(c)
		case c.x != nil:
			front := c.peer
			fgen := front.gen
			l.backRead(c)
			l.frontResume(front, fgen)
		}
	}
	l.todo = l.todo[:copy(l.todo, l.todo[n:])]
}

// block waits for events, or for the next deadline.
func (l *loop) block(events []unix.EpollEvent) int {
	timeout := -1
	if wait := l.wheel.wait(l.now); wait >= 0 {
		timeout = int((wait + time.Millisecond - 1) / time.Millisecond)
	}
	n, err := unix.EpollWait(l.epoll, events, timeout)
	l.now = l.srv.cfg.Set.Now()
	if err != nil {
		return 0
	}
	return n
}

func (l *loop) handle(ev *unix.EpollEvent) {
	if ev.Fd == int32(l.wakeup) {
		l.readMail()
		return
	}
	if s := l.sites[ev.Fd]; s != nil && ev.Pad == 0 {
		l.acceptAll(ev.Fd, s)
		return
	}
	if int(ev.Fd) >= len(l.conns) {
		return
	}
	c := l.conns[ev.Fd]
	if c == nil || c.gen != uint32(ev.Pad) {
		return // closed while the batch was being worked on
	}
	if ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.readable = true
	}
	if ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.hup = true
	}
	if c.front {
		l.frontEvent(c, ev.Events)
	} else {
		l.backEvent(c, ev.Events)
	}
}

// timeout ends what c was to do by now.
func (l *loop) timeout(c *conn) {
	if c.front {
		l.frontTimeout(c)
	} else {
		l.backTimeout(c)
	}
}

// rand is xorshift64*: good enough to choose replicas.
func (l *loop) rand() uint64 {
	l.random ^= l.random >> 12
	l.random ^= l.random << 25
	l.random ^= l.random >> 27
	return l.random * 2685821657736338717
}
