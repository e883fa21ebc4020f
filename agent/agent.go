// Package agent is a node's loop: it runs the replicas that the store assigns to its node and reports what they do.
//
// Each replica is a task: an ordered list of steps from assigned to running container, and back. Containers live in
// the runtime's own process, so the agent may be killed and started again at any time: it adopts what runs.
//
// May import the root package and the floor below (store, container, network, volume); images come through the interface
// that it declares.
package agent

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/network"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/volume"
)

// State is what the agent needs of the store.
type State interface {
	Snapshot() *store.Snapshot
	Wait(ctx context.Context, after int64) (*store.Snapshot, error)
	Update(ctx context.Context, change func(*store.Snapshot, *store.Tx) error) error
}

// Images gives images that are on this node, pulling what is not.
type Images interface {
	Ensure(ctx context.Context, ref, pullPolicy string) (Image, error)
}

// Image is an image on this node.
type Image struct {
	Config imagespec.ImageConfig
	Rootfs container.Rootfs
}

// Network is what the agent needs of the node's network.
type Network interface {
	Prepare(ctx context.Context, sandbox, netns string) error
	Connect(ctx context.Context, e network.Endpoint) error
	Release(ctx context.Context, sandbox string) error
	Apply(ctx context.Context, table network.Table) error
	Adopt(ctx context.Context, live []string) (missing []string, err error)
}

// Volumes gives directories of this node to mount; volume.Store is one.
type Volumes interface {
	Acquire(ctx context.Context, v holdfast.Volume, replica string, fill volume.Fill) (path string, err error)
	AcquireAnonymous(ctx context.Context, replica, target string, fill volume.Fill) (path string, err error)
	Subpath(ctx context.Context, name, replica, sub string) (path string, err error)
	Release(ctx context.Context, replica string) error
	Adopt(ctx context.Context, live []string) error
}

// Config of an Agent. All fields are needed.
type Config struct {
	Node    holdfast.Node // as it is to be registered
	Store   State
	Runtime container.Runtime
	Images  Images
	Network Network
	Volumes Volumes
	DataDir string // logs are kept under it
	RunDir  string // short-lived files are kept under it
	PoolMin int    // sandboxes parked at rest
	PoolMax int    // sandboxes parked while starts come fast
	Now     func() time.Time
	Log     *slog.Logger
}

// Agent runs the replicas of one node.
type Agent struct {
	node    holdfast.Node
	store   State
	runtime container.Runtime
	images  Images
	network Network
	volumes Volumes
	dataDir string
	runDir  string
	now     func() time.Time
	log     *slog.Logger
	pool    *pool
	reports *reporter
	adopted chan struct{}

	mu    sync.Mutex
	tasks map[string]*task // by container ID, pre-start hooks included
	work  sync.WaitGroup
}

// New returns an agent that does nothing until Run.
func New(cfg Config) *Agent {
	return &Agent{
		node: cfg.Node, store: cfg.Store, runtime: cfg.Runtime, images: cfg.Images, network: cfg.Network,
		volumes: cfg.Volumes, dataDir: cfg.DataDir, runDir: cfg.RunDir, now: cfg.Now, log: cfg.Log,
		pool:    newPool(cfg.Runtime, cfg.Network, cfg.Log, cfg.PoolMin, cfg.PoolMax),
		reports: newReporter(cfg.Store, cfg.Log),
		adopted: make(chan struct{}),
		tasks:   map[string]*task{},
	}
}

// Adopted is closed once the store tells of every replica of this node what became of it since an earlier agent ended.
// Until then it may call replicas ready that a reboot has ended.
func (a *Agent) Adopted() <-chan struct{} { return a.adopted }

// Run adopts what runs on the node and follows the store until ctx ends; containers go on. It returns ctx's cause,
// or the first error that it cannot live with.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.registerNode(ctx); err != nil {
		return fmt.Errorf("register node: %w", err)
	}
	if err := a.adopt(ctx); err != nil {
		return fmt.Errorf("adopt containers: %w", err)
	}
	close(a.adopted)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.reports.run(ctx) })
	group.Go(func() error { return a.pool.run(ctx) })
	group.Go(func() error { return a.watchContainers(ctx) })
	group.Go(func() error { return a.follow(ctx) })
	group.Go(func() error { return a.followNetwork(ctx) })
	group.Go(func() error { return a.heartbeat(ctx) })
	err := group.Wait()
	a.work.Wait()
	return err
}

// follow brings tasks in line with each snapshot.
func (a *Agent) follow(ctx context.Context) error {
	snap := a.store.Snapshot()
	for {
		a.reconcile(ctx, snap)
		next, err := a.store.Wait(ctx, snap.Revision)
		if err != nil {
			return err
		}
		snap = next
	}
}

// reconcile starts a task for each new replica of this node, and tells running ones what has changed for them.
func (a *Agent) reconcile(ctx context.Context, snap *store.Snapshot) {
	for id, replica := range snap.Replicas.All("") {
		if replica.Node != a.node.ID {
			continue
		}
		t := a.task(id)
		if t == nil {
			t = a.startTask(ctx, snap, *replica)
		}
		if t == nil {
			continue
		}
		if replica.Desired == holdfast.Stop {
			t.askStop(replica.StopWhy, replica.Kill)
			if drained(snap, id) {
				t.confirmDrained()
			}
		}
	}
	a.killOrphans(snap)
}

// startTask starts a replica that is new here; nil when there is nothing to do for it.
func (a *Agent) startTask(ctx context.Context, snap *store.Snapshot, replica holdfast.Replica) *task {
	if status, ok := snap.Statuses.Get(replica.ID); ok && status.State.Ended() {
		return nil
	}
	t, err := a.newTaskFor(snap, replica)
	if err != nil {
		a.log.Error("start replica", "replica", replica.ID, "err", err)
		return nil
	}
	if replica.Desired == holdfast.Stop {
		t.askStop(replica.StopWhy, replica.Kill)
	}
	a.launch(ctx, t, t.run)
	return t
}

func (a *Agent) newTaskFor(snap *store.Snapshot, replica holdfast.Replica) (*task, error) {
	release, ok := snap.Releases.Get(store.ReleaseKey(replica.App, replica.Service, replica.Release))
	if !ok {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "release %d of %s/%s is not in the store", replica.Release, replica.App, replica.Service)
	}
	app, ok := snap.Apps.Get(replica.App)
	if !ok {
		app = &holdfast.App{Name: replica.App}
	}
	return newTask(a, replica, *app, release.Spec), nil
}

// launch registers t and runs its life in a goroutine; t is forgotten when its record is reaped.
func (a *Agent) launch(ctx context.Context, t *task, life func(context.Context)) {
	a.mu.Lock()
	a.tasks[t.replica.ID] = t
	a.mu.Unlock()
	a.work.Add(1)
	go func() {
		defer a.work.Done()
		defer close(t.done)
		life(ctx)
	}()
}

// register makes a container's exit reach t, until the returned function is called.
func (a *Agent) register(t *task) (unregister func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tasks[t.replica.ID] = t
	return func() { a.forget(t.replica.ID) }
}

func (a *Agent) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.tasks, id)
}

func (a *Agent) task(id string) *task {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tasks[id]
}

// killOrphans stops tasks whose record is gone, and forgets those that ended.
func (a *Agent) killOrphans(snap *store.Snapshot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, t := range a.tasks {
		if _, ok := snap.Replicas.Get(t.owner()); ok {
			continue
		}
		if closed(t.done) {
			delete(a.tasks, id)
			a.removeLog(id)
			continue
		}
		t.askStop("its record was removed", true)
	}
}

// watchContainers hands each container's end to its task.
func (a *Agent) watchContainers(ctx context.Context) error {
	for ctx.Err() == nil {
		statuses, err := a.runtime.Watch(ctx)
		if err != nil {
			a.log.Warn("watch containers", "err", err)
			sleep(ctx, time.Second)
			continue
		}
		for status := range statuses {
			if status.Phase == container.Exited {
				a.deliver(status)
			}
		}
	}
	return context.Cause(ctx)
}

func (a *Agent) deliver(status container.Status) {
	t := a.task(status.ID)
	if t == nil {
		return
	}
	select {
	case t.exited <- status:
	default: // told already
	}
}

// drained reports whether every node's gateway has confirmed that nothing is in flight to the replica.
func drained(snap *store.Snapshot, replica string) bool {
	for id, node := range snap.Nodes.All("") {
		if !node.Gateway {
			continue
		}
		d, ok := snap.Drains.Get(replica + "/" + id)
		if !ok || d.InFlight > 0 {
			return false
		}
	}
	return true
}

// routed reports whether gateways may send requests to replicas of spec.
func (a *Agent) routed(spec *holdfast.Spec) bool {
	if len(spec.Routes) > 0 {
		return true
	}
	for _, p := range spec.Ports {
		if p.Mode != "host" {
			return true
		}
	}
	return false
}

func (a *Agent) logPath(replica string) string {
	return filepath.Join(a.dataDir, "logs", replica, "log")
}

func (a *Agent) filesDir(replica string) string { return filepath.Join(a.runDir, "files", replica) }
