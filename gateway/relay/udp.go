package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/gateway/upstream"
)

// UDPOptions bound the flows of one port. Zero fields take their defaults.
type UDPOptions struct {
	Idle   time.Duration // a flow ends when nothing came either way for that long; 60 s
	Linger time.Duration // a flow that moved still takes replies of its old replica for that long; 1 s
	Flows  int           // at most; the oldest idle one gives way; 65,536
}

func (o UDPOptions) withDefaults() UDPOptions {
	if o.Idle == 0 {
		o.Idle = time.Minute
	}
	if o.Linger == 0 {
		o.Linger = time.Second
	}
	if o.Flows == 0 {
		o.Flows = 65536
	}
	return o
}

// ServeUDP relays datagrams between clients of conn and replicas, until ctx ends. All datagrams of one client address go
// to one replica, and to another as soon as that one is not ready any more. A client that talks while no replica is
// ready is not held: its datagrams are dropped, as the network may. It closes conn.
func ServeUDP(ctx context.Context, conn *net.UDPConn, cfg Config, opt UDPOptions) error {
	r := &udpRelay{cfg: cfg, opt: opt.withDefaults(), conn: conn, flows: map[netip.AddrPort]*flow{}}
	defer r.closeAll()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer cfg.Set.Watch(r.unroute)()
	r.startTicker()
	defer r.ticker.Stop()
	buf := make([]byte, 64<<10)
	for {
		n, client, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case err == nil:
			r.forward(client, buf[:n])
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serve udp: %w", err)
		}
	}
}

type udpRelay struct {
	cfg  Config
	opt  UDPOptions
	conn *net.UDPConn

	mu     sync.Mutex
	ticker *time.Timer
	flows  map[netip.AddrPort]*flow
	closed bool
}

// flow is one client address's way to one replica.
type flow struct {
	client netip.AddrPort
	ep     *upstream.Endpoint
	server *net.UDPConn
	seen   atomic.Int64 // by Set.Now
	moved  atomic.Bool  // its client has another flow by now
}

// forward sends one datagram of client on.
func (r *udpRelay) forward(client netip.AddrPort, data []byte) {
	for range 2 {
		f := r.flow(client)
		if f == nil {
			return
		}
		f.seen.Store(int64(r.cfg.Set.Now()))
		_, err := f.server.Write(data)
		if err == nil {
			f.ep.Traffic.Bytes(int64(len(data)), 0)
			return
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		f.ep.Refused(r.cfg.Set.Now())
		r.drop(f)
	}
}

// flow returns client's flow, made or moved as needed; nil when no replica is ready.
func (r *udpRelay) flow(client netip.AddrPort) *flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flows[client]
	if f != nil && f.ep.Replica.Ready() {
		return f
	}
	if f != nil {
		r.move(f)
	}
	if r.closed || len(r.flows) >= r.opt.Flows {
		return nil
	}
	if f = r.open(client); f != nil {
		r.flows[client] = f
		go r.replies(f)
	}
	return f
}

func (r *udpRelay) open(client netip.AddrPort) *flow {
	backend := r.cfg.Backend()
	if backend == nil {
		return nil
	}
	ep := backend.Pick(rand.Uint64(), r.cfg.Set.Now(), nil)
	if ep == nil {
		backend.Refused.Add(1)
		return nil
	}
	server, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(ep.Addr))
	if err != nil {
		ep.Refused(r.cfg.Set.Now())
		ep.Done()
		return nil
	}
	f := &flow{client: client, ep: ep, server: server}
	f.seen.Store(int64(r.cfg.Set.Now()))
	return f
}

// move takes f out of the table and lets it take late replies for a moment.
func (r *udpRelay) move(f *flow) {
	delete(r.flows, f.client)
	f.moved.Store(true)
	_ = f.server.SetReadDeadline(time.Now().Add(r.opt.Linger))
}

// drop ends f.
func (r *udpRelay) drop(f *flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flows[f.client] == f {
		delete(r.flows, f.client)
	}
	f.server.Close()
}

var datagrams = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// replies sends what f's replica says to its client, until f ends. A flow holds a buffer only while there is something
// to read.
func (r *udpRelay) replies(f *flow) {
	defer f.ep.Done()
	defer f.server.Close()
	defer context.AfterFunc(f.ep.Replica.Gone(), func() { r.drop(f) })()
	raw, err := f.server.SyscallConn()
	if err != nil {
		return
	}
	for {
		if err := raw.Read(func(fd uintptr) bool { return r.readReplies(int(fd), f) }); err != nil {
			return
		}
	}
}

// readReplies reads all that is there, and reports whether that was anything.
func (r *udpRelay) readReplies(fd int, f *flow) bool {
	buf := datagrams.Get().(*[64 << 10]byte)
	defer datagrams.Put(buf)
	for got := false; ; got = true {
		n, err := unix.Read(fd, buf[:])
		if err == unix.EAGAIN {
			return got
		}
		if err != nil {
			return true // refused by the replica: the next datagram moves the flow
		}
		f.seen.Store(int64(r.cfg.Set.Now()))
		f.ep.Traffic.Bytes(0, int64(n))
		_, _ = r.conn.WriteToUDPAddrPort(buf[:n], f.client)
	}
}

func (r *udpRelay) startTicker() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ticker = time.AfterFunc(r.opt.Idle/4, r.expire)
}

// expire ends idle flows.
func (r *udpRelay) expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	limit := r.cfg.Set.Now() - r.opt.Idle
	for client, f := range r.flows {
		if time.Duration(f.seen.Load()) < limit {
			delete(r.flows, client)
			f.server.Close()
		}
	}
	r.ticker.Reset(r.opt.Idle / 4)
}

// unroute moves flows away from replicas that are not ready any more. Flows are opened again by their next datagram.
func (r *udpRelay) unroute() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flows {
		if !f.ep.Replica.Ready() {
			r.move(f)
		}
	}
}

func (r *udpRelay) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, f := range r.flows {
		f.server.Close()
	}
	clear(r.flows)
}
