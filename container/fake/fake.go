// Package fake is a container.Runtime in memory, for tests of what uses one: it does what its script says, keeps time by
// the clock it is given, and gives the same IDs on every run.
//
// May import only the root package, container and libraries.
package fake

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/watch"
)

// Config of a fake runtime. The zero value runs containers that run until they are stopped, on the real clock.
type Config struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// AfterFunc runs f after d on that clock, like time.AfterFunc, which is the default; stop may be called at any time.
	AfterFunc func(d time.Duration, f func()) (stop func() bool)
	// Script says what the nth start (from 1, over the life of the machine) does; nil is the zero Behaviour for all.
	// It is called under a lock and must not call the runtime.
	Script func(n int, spec container.Spec) Behaviour
	// Park fails the nth call of Park (from 1) when it returns an error; nil never.
	Park func(n int) error
	// Changed, when not nil, is called with every change, in order, before the call that made it returns. It must not
	// call the runtime. Unlike Watch it needs no goroutine.
	Changed func(container.Status)
}

// Behaviour is what one container does. The zero value runs until SIGKILL or a signal that would end a process.
type Behaviour struct {
	Err        error         // Start fails with this
	Delay      time.Duration // Start takes this long
	Exits      bool          // it ends by itself ExitAfter its start
	ExitAfter  time.Duration
	ExitCode   int
	OOM        bool          // the kernel kills it when it exits; ExitCode is then 137
	IgnoreTERM bool          // only SIGKILL ends it
	TermAfter  time.Duration // it ends this long after a signal that ends it
	NeverReady bool          // see Runtime.Ready
	ReadyAfter time.Duration
	Stats      container.Stats
	// Program, when not nil, is the container's process instead of the above: it runs on a goroutine and gets all
	// signals but SIGKILL, which ends the container whether it returns or not.
	Program func(Process) (exitCode int)
	// Exec is what Exec runs; nil: a program that ends at once with exit code 0.
	Exec func(container.ExecSpec, Process) (exitCode int)
}

// Process is what a program sees.
type Process struct {
	Spec    container.Spec
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Signals <-chan syscall.Signal
	Killed  <-chan struct{} // closed by SIGKILL
}

// Runtime is a fake container.Runtime. Safe for concurrent use.
type Runtime struct {
	m *machine
}

// machine is what outlives a Runtime.
type machine struct {
	cfg    Config
	mu     sync.Mutex
	hub    watch.Hub
	open   *Runtime // calls on any other fail
	parks  int
	starts int
	boxes  map[string]*box
}

// box is a sandbox or container.
type box struct {
	status    container.Status
	spec      container.Spec
	behaviour Behaviour
	stops     []func() bool
	signals   chan syscall.Signal
	killed    chan struct{}
	readyAt   time.Time
	output    *output
	stdin     *io.PipeWriter
	stdinEnd  *io.PipeReader
	ended     chan struct{}
}

var _ container.Runtime = (*Runtime)(nil)

// New returns the runtime of an empty machine.
func New(cfg Config) *Runtime {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.AfterFunc == nil {
		cfg.AfterFunc = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	m := &machine{cfg: cfg, boxes: map[string]*box{}}
	r := &Runtime{m: m}
	m.open = r
	return r
}

// Reopen returns a new runtime of the same machine, as after a crash of the process that held r. All calls of r fail
// with ErrUnavailable from now on.
func (r *Runtime) Reopen() *Runtime {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	next := &Runtime{m: r.m}
	r.m.open = next
	return next
}

// Reboot is Reopen after a power cut: all containers and sandboxes are gone.
func (r *Runtime) Reboot() *Runtime {
	next := r.Reopen()
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	for id, b := range r.m.boxes {
		b.release()
		delete(r.m.boxes, id)
	}
	return next
}

// Starts returns how many times Start was called on the machine.
func (r *Runtime) Starts() int {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return r.m.starts
}

// Ready reports whether the container runs and its script lets it be ready: the answer of a test's health check.
func (r *Runtime) Ready(id string) bool {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	b := r.m.boxes[id]
	return b != nil && b.status.Phase == container.Running && !b.behaviour.NeverReady && !r.m.cfg.Now().Before(b.readyAt)
}

// Exit ends the running container with code now, as if its process had ended by itself.
func (r *Runtime) Exit(id string, code int) error {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	b, err := r.m.running(id)
	if err != nil {
		return err
	}
	r.m.exitLocked(b, code, false)
	return nil
}

// lock takes the machine's lock if ctx goes on and r is still the one in charge.
func (r *Runtime) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.m.mu.Lock()
	if r.m.open != r {
		r.m.mu.Unlock()
		return holdfast.Errorf(holdfast.ErrUnavailable, "this runtime was closed")
	}
	return nil
}

// Park implements container.Runtime.
func (r *Runtime) Park(ctx context.Context, opt container.ParkOptions) (container.Sandbox, error) {
	if err := r.lock(ctx); err != nil {
		return container.Sandbox{}, err
	}
	defer r.m.mu.Unlock()
	r.m.parks++
	if r.m.cfg.Park != nil {
		if err := r.m.cfg.Park(r.m.parks); err != nil {
			return container.Sandbox{}, err
		}
	}
	id := fmt.Sprintf("sandbox-%d", r.m.parks)
	box := &box{status: container.Status{
		ID: id, Phase: container.Parked, PID: 1000 + r.m.parks,
		Sandbox: container.Sandbox{ID: id, NetNS: "/fake/" + id, Opt: opt},
	}}
	if opt.NetOf != "" {
		other, err := r.m.running(opt.NetOf)
		if err != nil {
			return container.Sandbox{}, err
		}
		box.status.Sandbox.NetNS = other.status.Sandbox.NetNS
	}
	r.m.boxes[id] = box
	r.m.publishLocked(box)
	return box.status.Sandbox, nil
}

// List implements container.Runtime.
func (r *Runtime) List(ctx context.Context) ([]container.Status, error) {
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	defer r.m.mu.Unlock()
	return r.m.listLocked(), nil
}

// Watch implements container.Runtime.
func (r *Runtime) Watch(ctx context.Context) (<-chan container.Status, error) {
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	defer r.m.mu.Unlock()
	return r.m.hub.Subscribe(ctx, r.m.listLocked()), nil
}

func (m *machine) listLocked() []container.Status {
	list := make([]container.Status, 0, len(m.boxes))
	for _, b := range m.boxes {
		list = append(list, b.status)
	}
	slices.SortFunc(list, func(a, b container.Status) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

func (m *machine) publishLocked(b *box) {
	m.hub.Publish(b.status)
	if m.cfg.Changed != nil {
		m.cfg.Changed(b.status)
	}
}

// running returns the container if it is running or paused.
func (m *machine) running(id string) (*box, error) {
	b := m.boxes[id]
	if b == nil || (b.status.Phase != container.Running && b.status.Phase != container.Paused) {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "container %s is not running", id)
	}
	return b, nil
}
