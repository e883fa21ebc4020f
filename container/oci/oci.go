//go:build linux

// Package oci is a container.Runtime that has an OCI runtime program, runc or crun, run the containers. It is the other
// back end beside container/linux, and the oracle of its tests.
//
// All state is on disk: containers, which are children of the nearest subreaper and not of the program, go on when the
// process that holds the Runtime ends, and the next one adopts them. What it cannot do: user namespaces (the programs
// are too old for id-mapped layers), and keep standard input or a terminal open over a restart.
//
// May import only the root package, container and what is below it, and libraries.
package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/watch"
)

// Config of a Runtime. Only Program must be given; the zero value of another field takes the default named with it.
type Config struct {
	// Program is runc or crun, a path or a name to look up.
	Program string
	// Dir holds all state and the writable layers: /var/lib/holdfast/oci/<program>. It must be on a file system that can
	// be an overlay's upper layer.
	Dir string
	// CgroupParent is the cgroup below which containers get theirs: /holdfast.
	CgroupParent string
	// Init is a static program that, given "--" and a command, is PID 1 for it: the first that is installed of catatonit,
	// tini and docker-init. With none, Spec.Init is ErrUnsupported.
	Init string
	// BootID tells one boot of the machine from another: the kernel's boot_id.
	BootID string
	// Children is told of the processes that the runtime waits for, so that whoever reaps orphans in this process
	// leaves them alone: nobody does.
	Children Children
	Log      *slog.Logger     // slog.Default()
	Now      func() time.Time // time.Now
}

// Children knows whose children the processes below this one are.
type Children interface {
	// Birth says that a process is about to be made whose ID is not known yet, until done is called. Births overlap.
	Birth() (done func())
	Add(pid int)
	Remove(pid int)
}

type noChildren struct{}

func (noChildren) Birth() func() { return func() {} }
func (noChildren) Add(int)       {}
func (noChildren) Remove(int)    {}

// Validate fills in the defaults and reports what is wrong.
func (c *Config) Validate() error {
	program, err := exec.LookPath(c.Program)
	if err != nil {
		return holdfast.Errorf(holdfast.ErrUnavailable, "OCI runtime %q is not installed: %w", c.Program, err)
	}
	c.Program = program
	c.Dir = cmp.Or(c.Dir, filepath.Join("/var/lib/holdfast/oci", filepath.Base(program)))
	c.CgroupParent = cmp.Or(c.CgroupParent, "/holdfast")
	for _, dir := range []string{c.Dir, c.CgroupParent} {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
			return holdfast.Errorf(holdfast.ErrInvalid, "OCI runtime: %q is not a clean absolute path", dir)
		}
	}
	for _, name := range []string{"catatonit", "tini-static", "tini", "docker-init"} {
		if path, err := exec.LookPath(name); err == nil && c.Init == "" {
			c.Init = path
		}
	}
	if c.BootID == "" {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return fmt.Errorf("read boot id: %w", err)
		}
		c.BootID = strings.TrimSpace(string(id))
	}
	if c.Children == nil {
		c.Children = noChildren{}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Runtime is a container.Runtime.
type Runtime struct {
	cfg    Config
	hidden bool // the program must not see the unified cgroup hierarchy

	mu     sync.Mutex
	boxes  map[string]*box
	known  map[int]bool // processes that Exec started and nobody has waited for
	closed bool
	hub    watch.Hub
	execs  sync.RWMutex   // read: a process is being started in a container
	work   sync.WaitGroup // goroutines that look after containers
}

// box is a sandbox, or a container.
type box struct {
	record
	starting   bool     // nobody may see it yet
	pidfd      *os.File // of a container that runs
	createdPID int
	out        *output       // of a container that runs
	stdin      *os.File      // ours, with Spec.Stdin
	master     *os.File      // of a terminal
	ended      chan struct{} // closed when the status is Exited
	removing   sync.Mutex
}

var _ container.Runtime = (*Runtime)(nil)

// New opens the runtime, adopts what runs and sweeps what an earlier one left half made. It makes the process a child
// subreaper.
func New(cfg Config) (*Runtime, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become child subreaper: %w", err)
	}
	r := &Runtime{cfg: cfg, boxes: map[string]*box{}, known: map[int]bool{}, hidden: filepath.Base(cfg.Program) == "crun" && hybrid()}
	for _, dir := range []string{cfg.Dir, r.path("net"), r.path("box"), r.path("run")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make state directory: %w", err)
		}
	}
	if err := r.load(); err != nil {
		return nil, err
	}
	return r, nil
}

// Close lets go of all containers, which go on. The Runtime must not be used after it.
func (r *Runtime) Close() error {
	r.mu.Lock()
	r.closed = true
	for _, b := range r.boxes {
		b.letGo()
	}
	r.mu.Unlock()
	r.work.Wait()
	return nil
}

// letGo closes what the process holds of a container.
func (b *box) letGo() {
	for _, f := range []*os.File{b.pidfd, b.stdin, b.master} {
		if f != nil {
			f.Close()
		}
	}
	if b.out != nil {
		b.out.stop()
	}
}

// path is a file of the state directory.
func (r *Runtime) path(parts ...string) string {
	return filepath.Join(append([]string{r.cfg.Dir}, parts...)...)
}

func (b *box) path(r *Runtime, parts ...string) string {
	return r.path(append([]string{"box", b.Status.ID}, parts...)...)
}

// List implements container.Runtime.
func (r *Runtime) List(context.Context) ([]container.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listLocked(), nil
}

func (r *Runtime) listLocked() []container.Status {
	list := make([]container.Status, 0, len(r.boxes))
	for _, b := range r.boxes {
		if !b.starting {
			list = append(list, b.Status)
		}
	}
	slices.SortFunc(list, func(a, b container.Status) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Watch implements container.Runtime.
func (r *Runtime) Watch(ctx context.Context) (<-chan container.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hub.Subscribe(ctx, r.listLocked()), nil
}

// get returns the container, whatever its phase.
func (r *Runtime) get(id string) (*box, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.boxes[id]
	if b == nil || b.starting || b.Status.Phase == container.Parked {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "container %s does not exist", id)
	}
	return b, nil
}

// running returns the container if it has not ended.
func (r *Runtime) running(id string) (*box, error) {
	b, err := r.get(id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.Status.Phase == container.Exited {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "container %s ended", id)
	}
	return b, nil
}

// change writes a new status of b and tells the watchers.
func (r *Runtime) change(b *box, change func(*container.Status)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return holdfast.Errorf(holdfast.ErrUnavailable, "the runtime is closed")
	}
	before := b.Status
	change(&b.Status)
	if err := r.save(b); err != nil {
		b.Status = before
		return err
	}
	if !b.starting {
		r.hub.Publish(b.Status)
	}
	return nil
}

// hybrid reports whether the unified cgroup hierarchy is mounted beside version 1's.
func hybrid() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup/unified", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// ignore drops the errors of cleaning up what may be half there.
func ignore(err error, but ...error) error {
	for _, b := range but {
		if errors.Is(err, b) {
			return nil
		}
	}
	return err
}
