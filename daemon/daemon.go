// Package daemon wires one node's processes out of the parts: it is the one place that knows them all.
//
// May be imported by programs and tests only.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/agent"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/container/supervisor"
	"github.com/holdfast/holdfast/control"
	"github.com/holdfast/holdfast/image"
	"github.com/holdfast/holdfast/network"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/etcd"
	"github.com/holdfast/holdfast/store/remote"
	"github.com/holdfast/holdfast/volume"
)

// Run is the agent's process. It returns nil when ctx ended; containers, the supervisor and the gateway go on.
//
//	lock ─ etcd ─ store ─┬─ control                     decides
//	                     ├─ agent ─ supervisor ─▶ containers
//	                     │    └──── images, network, volumes
//	                     ├─ store socket ─▶ gateway (a process of its own)
//	                     └─ api ─▶ CLI
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.Defaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	if err := cfg.makeDirs(); err != nil {
		return err
	}
	held, err := lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer held.Close()
	id, err := nodeID(cfg.DataDir)
	if err != nil {
		return err
	}
	node, err := thisNode(cfg, id)
	if err != nil {
		return err
	}
	// The API is the sign of a whole agent, so its socket appears last; binding fails before anything is started.
	d := &process{cfg: cfg, node: node, started: time.Now()}
	defer d.close()
	if err := d.open(ctx); err != nil {
		return err
	}
	return d.serve(ctx)
}

// process is the agent's process while it runs.
type process struct {
	cfg     Config
	node    holdfast.Node
	started time.Time

	kv      *etcd.Engine
	state   *store.Store
	images  *image.Store
	volumes *volume.Store
	network *network.Network
	runtime *supervisor.Client
	agent   *agent.Agent
	gateway *http.Client
	trouble *problems
	holds   holds
	metrics *prometheus.Registry
	closers []func() error
}

func (d *process) onClose(f func() error) { d.closers = append(d.closers, f) }

// close lets go of everything in reverse order.
func (d *process) close() {
	for i := len(d.closers) - 1; i >= 0; i-- {
		if err := d.closers[i](); err != nil {
			d.cfg.Log.Warn("stop", "err", err)
		}
	}
}

// open opens all parts, each after those it needs.
func (d *process) open(ctx context.Context) error {
	for _, part := range []struct {
		what string
		open func(context.Context) error
	}{
		{"store", d.openStore},
		{"container runtime", d.openRuntime},
		{"image store", d.openImages},
		{"volumes", d.openVolumes},
		{"network", d.openNetwork},
	} {
		if err := part.open(ctx); err != nil {
			return fmt.Errorf("open %s: %w", part.what, err)
		}
	}
	d.metrics = prometheus.NewRegistry()
	d.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d.gateway = unixClient(d.cfg.gatewaySocket())
	d.trouble = &problems{cfg: d.cfg, client: d.gateway, log: d.cfg.Log}
	d.agent = agent.New(agent.Config{
		Node: d.node, Store: d.state, Runtime: d.runtime, Images: images{d.images, d.state, &d.holds}, Network: d.network,
		Volumes: d.volumes, DataDir: d.cfg.DataDir, RunDir: d.cfg.RunDir, PoolMin: d.cfg.PoolMin, PoolMax: d.cfg.PoolMax,
		Now: time.Now, Log: d.cfg.Log,
	})
	return nil
}

func (d *process) openStore(ctx context.Context) error {
	kv, err := etcd.Start(ctx, etcd.Config{Dir: d.cfg.dir("etcd"), Log: d.cfg.Log})
	if err != nil {
		return err
	}
	d.kv = kv
	d.onClose(kv.Close)
	// What is still to be written when ctx ends, the last statuses, needs a store that follows.
	follow, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.onClose(func() error { stop(); return nil })
	d.state, err = store.Open(follow, kv, store.WithLog(d.cfg.Log))
	return err
}

func (d *process) openRuntime(ctx context.Context) error {
	client, err := supervisor.EnsureRunning(ctx, d.cfg.supervisor())
	if err != nil {
		return err
	}
	d.runtime = client
	d.onClose(client.Close)
	return nil
}

func (d *process) openImages(context.Context) (err error) {
	d.images, err = image.Open(d.cfg.dir("images"), image.Options{Log: d.cfg.Log})
	if err == nil {
		d.onClose(d.images.Close)
	}
	return err
}

func (d *process) openVolumes(context.Context) (err error) {
	d.volumes, err = volume.Open(d.cfg.dir("volumes"), d.cfg.Log)
	return err
}

func (d *process) openNetwork(context.Context) (err error) {
	d.network, err = network.Open(d.cfg.network())
	if err == nil {
		d.onClose(d.network.Close)
	}
	return err
}

func (cfg Config) network() network.Config {
	return network.Config{Upstreams: cfg.Resolvers, Log: cfg.Log}
}

// serve runs the loops until ctx ends or one of them fails, which stops all.
func (d *process) serve(ctx context.Context) error {
	server, err := d.api()
	if err != nil {
		return err
	}
	storeListener, err := api.Listen(d.cfg.storeSocket())
	if err != nil {
		return err
	}
	socket, err := api.Listen(d.cfg.Socket())
	if err != nil {
		storeListener.Close()
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return remote.Serve(ctx, storeListener, d.kv, gatewayAccess) })
	group.Go(func() error {
		return after(ctx, func() error {
			return control.Run(ctx, control.Config{Store: d.state, Holder: d.node.ID, Log: d.cfg.Log})
		}, d.agent.Adopted())
	})
	group.Go(func() error { return d.agent.Run(ctx) })
	group.Go(func() error { return d.failWithStore(ctx) })
	gateway := keeper{
		what: "gateway", ensure: gatewayKeeper{d.cfg, d.gateway, d.cfg.Log}.ensure, tried: make(chan struct{}), log: d.cfg.Log,
		review: d.trouble.review,
	}
	group.Go(func() error { return gateway.run(ctx) })
	parent := keeper{what: "supervisor", ensure: d.ensureSupervisor, tried: make(chan struct{}), log: d.cfg.Log}
	group.Go(func() error { return parent.run(ctx) })
	group.Go(func() error { return d.serveRegistry(ctx) })
	group.Go(func() error {
		return after(ctx, func() error { return server.Serve(ctx, socket) }, d.agent.Adopted(), gateway.tried)
	})
	d.cfg.Log.Info("agent runs", "node", d.node.Name, "id", d.node.ID, "socket", d.cfg.Socket(), "version", Version)
	err = group.Wait()
	if ctx := context.WithoutCancel(ctx); !d.hasReplicas() {
		d.endIdle(ctx)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// hasReplicas reports whether this node has anything that must outlive the agent.
func (d *process) hasReplicas() bool {
	for _, r := range d.state.Snapshot().Replicas.All("") {
		if r.Node != d.node.ID {
			continue
		}
		if st, ok := d.state.Snapshot().Statuses.Get(r.ID); !ok || !st.State.Ended() {
			return true
		}
	}
	return false
}

// failWithStore ends the agent when its store can no longer read or write its files: only a new process helps.
func (d *process) failWithStore(ctx context.Context) error {
	select {
	case <-d.kv.Failed():
		return fmt.Errorf("store: %w", d.kv.Err())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// after runs f once all of the channels are closed, unless ctx ends first.
func after(ctx context.Context, f func() error, ready ...<-chan struct{}) error {
	for _, c := range ready {
		select {
		case <-c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return f()
}

// serveRegistry answers the OCI distribution API on this machine.
func (d *process) serveRegistry(ctx context.Context) error {
	if d.cfg.Registry == "off" {
		return nil
	}
	l, err := net.Listen("tcp", d.cfg.Registry)
	if err != nil {
		return fmt.Errorf("listen for docker push (--registry): %w", err)
	}
	return serveHTTP(ctx, l, d.images.Handler())
}

func (d *process) api() (*api.Server, error) {
	return api.New(api.Config{
		State: d.state, Processes: d.agent, Logs: d.agent, Copier: d.agent,
		Images: images{d.images, d.state, &d.holds}, Volumes: volumes{d.volumes, d.state, d.node.ID},
		Router: router{d.state, d.node.ID}, Metrics: metricsHandler(d.metrics, d.gateway), Info: d.info, Problems: d.trouble.now,
		Log: d.cfg.Log,
	})
}

func (d *process) info() api.Info {
	info := api.Info{
		Version: Version, PID: os.Getpid(), Node: d.node.ID, DataDir: d.cfg.DataDir, RunDir: d.cfg.RunDir, Started: d.started,
	}
	if d.cfg.HTTP != "off" {
		info.Gateway = []string{d.cfg.HTTP}
	}
	return info
}
