package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast/holdfast/gateway/relay"
	"github.com/holdfast/holdfast/gateway/route"
	"github.com/holdfast/holdfast/gateway/std"
	"github.com/holdfast/holdfast/gateway/upstream"
)

// portRetry is how long a port that could not be opened waits for the next try.
const portRetry = time.Second

// PortStatus is how a published port is.
type PortStatus struct {
	Listen  string `json:"listen"` // "tcp 0.0.0.0:8080"
	Service string `json:"service"`
	HTTP    bool   `json:"http,omitempty"`
	Error   string `json:"error,omitempty"` // why it is not open; tried again every second
}

// ports keeps the gateway's listeners as the table wants them.
type ports struct {
	g    *Gateway
	http []httpListener // of the routes
	tls  []httpListener // of the routes, for HTTPS
	done sync.WaitGroup

	mu     sync.Mutex
	ctx    context.Context
	open   map[portKey]context.CancelFunc
	wanted []PortStatus
}

// portKey names a listener and what it speaks.
type portKey struct {
	listen route.Listen
	http   bool
}

// httpListener is a listening address of one of the HTTP data paths.
type httpListener interface {
	Addr() net.Addr
	Close() error
	Serve(ctx context.Context, grace time.Duration) error
}

func (p *ports) listenHTTP(network, addr string, site std.Site) (httpListener, error) {
	if p.g.loops != nil {
		return p.g.loops.Listen(network, addr, site)
	}
	return p.g.std.Listen(network, addr, site)
}

func newPorts(g *Gateway) *ports { return &ports{g: g, open: map[portKey]context.CancelFunc{}} }

func (p *ports) bindHTTP(addrs []string) error {
	for _, addr := range addrs {
		l, err := p.listenHTTP("tcp", addr, std.Site{})
		if err != nil {
			return fmt.Errorf("listen for http: %w", err)
		}
		p.http = append(p.http, l)
	}
	return nil
}

func (p *ports) closeAll() {
	for _, l := range slices.Concat(p.http, p.tls) {
		l.Close()
	}
}

// HTTPAddrs returns the addresses of the routes' listeners.
func (g *Gateway) HTTPAddrs() []net.Addr {
	var addrs []net.Addr
	for _, l := range g.ports.http {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// start serves the routes, and lets sync open ports, until ctx ends.
func (p *ports) start(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx = ctx
	for _, l := range slices.Concat(p.http, p.tls) {
		p.serve(ctx, l.Addr().String(), func(ctx context.Context) error {
			return l.Serve(ctx, p.g.cfg.Grace)
		})
	}
}

func (p *ports) wait() { p.done.Wait() }

func (p *ports) serve(ctx context.Context, what string, run func(context.Context) error) {
	p.done.Go(func() {
		if err := run(ctx); err != nil {
			p.g.cfg.Log.Error("gateway listener ended", "listen", what, "err", err)
		}
	})
}

// sync opens and closes listeners so that they are those of t.
func (p *ports) sync(t *route.Table) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := map[portKey]bool{}
	for _, port := range t.Ports {
		wanted[keyOf(port)] = true
	}
	for key, stop := range p.open {
		if !wanted[key] {
			stop()
			delete(p.open, key)
		}
	}
	was := p.wanted
	p.wanted = nil
	for _, port := range t.Ports {
		st := PortStatus{
			Listen: port.Listen.String(), Service: port.Backend.App + "/" + port.Backend.Service, HTTP: port.HTTP != nil,
		}
		if err := p.ensure(port); err != nil {
			st.Error = err.Error()
		}
		p.report(was, st)
		p.wanted = append(p.wanted, st)
	}
}

func keyOf(port *route.Port) portKey { return portKey{listen: port.Listen, http: port.HTTP != nil} }

// report logs st if it is news.
func (p *ports) report(was []PortStatus, st PortStatus) {
	switch {
	case slices.Contains(was, st):
	case st.Error != "":
		p.g.cfg.Log.Warn("published port is not open", "listen", st.Listen, "service", st.Service, "err", st.Error)
	default:
		p.g.cfg.Log.Info("published port is open", "listen", st.Listen, "service", st.Service)
	}
}

func (p *ports) ensure(port *route.Port) error {
	key := keyOf(port)
	if p.open[key] != nil {
		return nil
	}
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	ctx, cancel := context.WithCancel(p.ctx)
	if err := p.openPort(ctx, key); err != nil {
		cancel()
		return explainListen(key.listen, err)
	}
	p.open[key] = cancel
	return nil
}

func explainListen(l route.Listen, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken by another program or listener on this node", l)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s is not an address of this node", l.Addr.Addr())
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s needs more privileges", l)
	}
	return err
}

// openPort binds a port and serves it until ctx ends.
func (p *ports) openPort(ctx context.Context, key portKey) error {
	network, grace := key.listen.Protocol+"4", p.g.cfg.Grace
	if key.listen.Addr.Addr().Is6() {
		network = strings.TrimSuffix(network, "4") + "6"
	}
	cfg := relay.Config{Set: p.g.set, Backend: p.backend(key), Limits: p.g.cfg.Limits, Log: p.g.cfg.Log}
	var run func(context.Context) error
	switch {
	case key.listen.Protocol == "udp":
		conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(key.listen.Addr))
		if err != nil {
			return err
		}
		run = func(ctx context.Context) error { return relay.ServeUDP(ctx, conn, cfg, p.g.cfg.UDP) }
	case key.http:
		l, err := p.listenHTTP(network, key.listen.Addr.String(), std.Site{Port: &key.listen})
		if err != nil {
			return err
		}
		run = func(ctx context.Context) error { return l.Serve(ctx, grace) }
	default:
		l, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(key.listen.Addr))
		if err != nil {
			return err
		}
		run = func(ctx context.Context) error { return relay.ServeTCP(ctx, l, cfg, grace) }
	}
	p.serve(ctx, key.listen.String(), run)
	return nil
}

// backend returns what answers on a port now.
func (p *ports) backend(key portKey) func() *upstream.Backend {
	return func() *upstream.Backend {
		view := p.g.set.View()
		for _, port := range view.Table.Ports {
			if port.Listen == key.listen {
				return view.Backends[port.Backend.Index]
			}
		}
		return nil
	}
}

// failing reports whether a wanted port is not open.
func (p *ports) failing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.wanted, func(s PortStatus) bool { return s.Error != "" })
}

func (p *ports) status() []PortStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.wanted)
}
