// Package gateway is where clients come in: it follows the store, keeps the routing table, listens on the node's HTTP
// address and on published ports, and confirms when a replica is drained.
//
//	store ──► follow ──► route.Build ──► upstream.Set ◄── pick, hold, done ── std | loop (HTTP), relay (TCP, UDP)
//	            │                            │                                    ▲
//	            ├──► ports: open, close ─────┼────────────────────────────────────┘
//	            └──► drains ◄── in flight fell ┘ ──► store
//
// May import holdfast (the root), store, its own subpackages and libraries.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast/holdfast/gateway/access"
	"github.com/holdfast/holdfast/gateway/loop"
	"github.com/holdfast/holdfast/gateway/relay"
	"github.com/holdfast/holdfast/gateway/route"
	"github.com/holdfast/holdfast/gateway/std"
	"github.com/holdfast/holdfast/gateway/upstream"
	"github.com/holdfast/holdfast/store"
)

// State is what the gateway needs of the store.
type State interface {
	Snapshot() *store.Snapshot
	Wait(ctx context.Context, after int64) (*store.Snapshot, error)
	Update(ctx context.Context, change func(*store.Snapshot, *store.Tx) error) error
	Campaign(ctx context.Context, office, holder string, ttl time.Duration) (*store.Leadership, error)
}

// Config of a Gateway. State, NodeID and Log must be set.
type Config struct {
	State  State
	NodeID string
	// Listen are the addresses of the routes' HTTP listener; nil is ":80". An empty, non-nil slice opens none.
	Listen []string
	TLS    TLS
	// Engine is the HTTP data path: "loops" (event loops of the gateway's own) or "std" (net/http); "" is the default.
	Engine string
	Loops  int // event loops; one per CPU
	Limits upstream.Limits
	Hold   upstream.Options // HoldMax, HoldBytes
	UDP    relay.UDPOptions
	// Grace is how long requests and connections may go on after Run's context ended; 10 s.
	Grace time.Duration
	// OnDrain, when not nil, is called with a replica that is not routed to any more and what is still in flight to it:
	// once when that becomes true and then whenever it falls. It must not block.
	OnDrain func(replica string, inFlight int)
	// AccessLog, when not nil, gets one line of JSON for a share AccessSample (0 to 1) of all requests, and for all that
	// failed.
	AccessLog    io.Writer
	AccessSample float64
	Metrics      prometheus.Registerer // nil: none
	Log          *slog.Logger
	Now          func() time.Time // time.Now
}

// Validate reports what is missing.
func (c Config) Validate() error {
	var errs []error
	if c.State == nil {
		errs = append(errs, errors.New("no State"))
	}
	if c.NodeID == "" {
		errs = append(errs, errors.New("no NodeID"))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("no Log"))
	}
	if c.Engine != "" && c.Engine != "loops" && c.Engine != "std" {
		errs = append(errs, fmt.Errorf("unknown Engine %q: neither loops nor std", c.Engine))
	}
	return errors.Join(errs...)
}

// Gateway is one node's gateway. Safe for concurrent use.
type Gateway struct {
	cfg   Config
	set   *upstream.Set
	std   *std.Server
	loops *loop.Server // nil with Engine "std"
	ports *ports
	drain *drainer
	tls   *secure // nil: no HTTPS

	filters filters
}

// New returns a gateway that has not begun yet. Its HTTP listeners are bound: an address that is taken is an error.
func New(cfg Config) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure gateway: %w", err)
	}
	if cfg.Listen == nil {
		cfg.Listen = []string{":80"}
	}
	cfg.Grace = cmp.Or(cfg.Grace, 10*time.Second)
	cfg.Limits = cfg.Limits.WithDefaults()
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Hold.Now = cfg.Now
	g := &Gateway{cfg: cfg, set: upstream.New(cfg.Hold)}
	g.filters = filters{now: cfg.Now, log: cfg.Log}
	g.drain = newDrainer(cfg, g.set)
	g.ports = newPorts(g)
	if err := g.serveHTTP(); err != nil {
		g.close()
		return nil, err
	}
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(collector{g.set}); err != nil {
			g.close()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return g, nil
}

// serveHTTP makes the data paths of HTTP and binds the routes' listeners.
func (g *Gateway) serveHTTP() error {
	var log *access.Log
	if g.cfg.AccessLog != nil {
		log = access.New(g.cfg.AccessLog, g.cfg.AccessSample)
	}
	stdConfig := std.Config{Set: g.set, Limits: g.cfg.Limits, Access: log, Log: g.cfg.Log}
	if len(g.cfg.TLS.Listen) > 0 {
		g.tls = &secure{}
		stdConfig.Secure = g.tls
	}
	g.std = std.New(stdConfig)
	if g.cfg.Engine != "std" {
		var err error
		g.loops, err = loop.New(loop.Config{
			Set: g.set, Limits: g.cfg.Limits, Loops: g.cfg.Loops, Std: g.std, Access: log, Log: g.cfg.Log,
		})
		if err != nil {
			return fmt.Errorf("start event loops: %w", err)
		}
	}
	if err := g.ports.bindHTTP(g.cfg.Listen); err != nil {
		return err
	}
	return g.serveHTTPS()
}

// close frees what New made.
func (g *Gateway) close() {
	g.ports.closeAll()
	if g.loops != nil {
		g.loops.Close()
	}
	g.tls.close()
}

// Run serves until ctx ends, then lets what is in flight finish for up to Grace. It returns nil then, and an error when
// the store can no longer be followed.
func (g *Gateway) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var loops sync.WaitGroup
	loops.Go(func() { g.drain.run(ctx) })
	g.ports.start(ctx)
	err := g.follow(ctx)
	cancel(err)
	g.ports.wait()
	loops.Wait()
	if g.loops != nil {
		g.loops.Close()
	}
	g.tls.close()
	return err
}

// follow makes every new state of the store the gateway's, until ctx ends.
func (g *Gateway) follow(ctx context.Context) error {
	snap := g.cfg.State.Snapshot()
	for {
		table := route.Build(snap, g.cfg.NodeID)
		g.filters.attach(table, snap)
		g.tls.apply(snap)
		g.set.Apply(table)
		g.drain.follow(table)
		g.ports.sync(table)
		var err error
		if snap, err = g.next(ctx, snap.Revision); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("follow store: %w", err)
		}
	}
}

// next returns the next snapshot. While a port could not be opened it returns, every so often, the one there is.
func (g *Gateway) next(ctx context.Context, after int64) (*store.Snapshot, error) {
	wait := ctx
	if g.ports.failing() {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, portRetry)
		defer cancel()
	}
	snap, err := g.cfg.State.Wait(wait, after)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		return g.cfg.State.Snapshot(), nil
	}
	return snap, err
}

// Table returns the routing table, for explanations.
func (g *Gateway) Table() *route.Table { return g.set.View().Table }

// Ports returns the published ports that the gateway has or wants, and how they are.
func (g *Gateway) Ports() []PortStatus { return g.ports.status() }

// InFlight returns how many requests and connections are in flight to a replica, and whether that number can only fall
// because the gateway no longer routes to it. A replica that is not in the table has none.
func (g *Gateway) InFlight(replica string) (n int, unrouted bool) {
	rep := g.set.Replica(replica)
	if rep == nil {
		return 0, false
	}
	unrouted = rep.Leaving().Err() != nil // looked at before the count
	return rep.InFlight(), unrouted
}
