//go:build linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/watch"
)

// Runtime runs containers. It implements container.Runtime. Make one with New.
type Runtime struct {
	cfg        Config
	zygote     zygote
	ids        *idRanges
	visitors   visitors
	vault      vault
	images     images
	bounding   uint64 // capabilities of this process
	lastCap    int
	userNS     bool // sandboxes get user namespaces
	lockFD     int
	background sync.WaitGroup

	mu         sync.Mutex
	boxes      map[string]*box
	containers map[string]*ctr
	claimed    map[string]bool // IDs on their way into containers
	execs      map[*process]bool
	hub        watch.Hub
}

var _ container.Runtime = (*Runtime)(nil)

var errLocked = holdfast.Errorf(holdfast.ErrConflict, "another runtime uses the same directory")

const (
	newRootDir = "root"   // in RunDir: where new roots are attached meanwhile
	imagesDir  = "images" // in RunDir: mounts of image files
	pipesDir   = "pipes"  // in RunDir: standard streams
	boxesDir   = "boxes"  // in RunDir: records and control sockets of sandboxes
)

// New makes a Runtime and adopts the containers that an earlier one left in Config.Dir; those of an earlier boot are
// listed as exited. One Runtime at a time may use a Dir, a RunDir and a CgroupParent: a second one gets ErrConflict.
func New(cfg Config) (*Runtime, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if kernelVersion() < kernelNeeded {
		return nil, holdfast.Errorf(holdfast.ErrUnsupported, "container runtime: needs Linux 5.12 or newer")
	}
	if os.Geteuid() != 0 {
		return nil, holdfast.Errorf(holdfast.ErrUnsupported, "container runtime: must be root")
	}
	r := &Runtime{
		cfg: cfg, ids: newIDRanges(cfg.IDBase, cfg.IDSize, cfg.IDRanges),
		boxes: map[string]*box{}, containers: map[string]*ctr{}, claimed: map[string]bool{}, execs: map[*process]bool{},
		images: images{dir: filepath.Join(cfg.RunDir, imagesDir), byID: map[imageID]*imageMount{}},
	}
	if err := r.open(); err != nil {
		r.close()
		return nil, fmt.Errorf("open container runtime: %w", err)
	}
	return r, nil
}

func (r *Runtime) open() (err error) {
	r.zygote.sock, r.lockFD, r.vault.runtime = -1, -1, r
	if r.cfg.BootID == "" {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return fmt.Errorf("read boot id: %w", err)
		}
		r.cfg.BootID = strings.TrimSpace(string(id))
	}
	if err := r.makeDirs(); err != nil {
		return err
	}
	if r.bounding, err = ownBounding(); err != nil {
		return err
	}
	if r.lastCap, err = lastCap(); err != nil {
		return err
	}
	if r.zygote.self, err = newSelfImage(); err != nil {
		return err
	}
	r.userNS = !r.cfg.HostUserNS && r.probeUserNS()
	return r.adopt()
}

// makeDirs makes our directories. Mounts go below one that is private and empty: what a dead runtime left is gone.
func (r *Runtime) makeDirs() error {
	if err := os.MkdirAll(r.cfg.Dir, 0o711); err != nil {
		return err
	}
	if err := spread(r.cfg.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(r.cfg.RunDir, 0o711); err != nil {
		return err
	}
	if err := r.lock(); err != nil {
		return err
	}
	for unix.Unmount(r.images.dir, unix.MNT_DETACH) == nil { // one for each runtime that died here
	}
	for _, name := range []string{newRootDir, imagesDir, pipesDir, boxesDir} {
		if err := os.MkdirAll(filepath.Join(r.cfg.RunDir, name), 0o700); err != nil {
			return err
		}
	}
	if err := unix.Mount("images", r.images.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700,size=1m"); err != nil {
		return fmt.Errorf("mount %s: %w", r.images.dir, err)
	}
	if err := unix.Mount("", r.images.dir, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make %s private: %w", r.images.dir, err)
	}
	return nil
}

// Close gives up the runtime. Containers run on and sandboxes wait; the next New adopts them. Processes of Exec are
// killed.
func (r *Runtime) Close() error {
	r.mu.Lock()
	boxes, containers, execs := r.boxes, slices.Collect(maps.Values(r.containers)), slices.Collect(maps.Keys(r.execs))
	r.boxes = map[string]*box{}
	r.mu.Unlock()
	for _, c := range containers {
		c.letGo()
	}
	for _, b := range boxes {
		b.close()
	}
	for _, p := range execs {
		p.Close()
	}
	r.background.Wait()
	r.close()
	return nil
}

func (r *Runtime) close() {
	r.vault.close()
	if r.zygote.self != nil {
		r.zygote.close()
	}
	r.visitors.close()
	if r.lockFD < 0 {
		return
	}
	unix.Close(r.lockFD)
	_ = unix.Unmount(r.images.dir, unix.MNT_DETACH) // what containers use of it stays
}

// find returns the container with the ID.
func (r *Runtime) find(id string) (*ctr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c, nil
	}
	return nil, holdfast.Errorf(holdfast.ErrNotFound, "no container %q", id)
}

// running returns the container if it has not ended.
func (r *Runtime) running(id string) (*ctr, error) {
	c, err := r.find(id)
	if err != nil {
		return nil, err
	}
	if c.ended() {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "container %s ended", id)
	}
	return c, nil
}

// processOf returns the first process of a container or sandbox, and where its ids start on the node.
func (r *Runtime) processOf(id string) (pid int, ids uint32, err error) {
	r.mu.Lock()
	b := r.boxes[id]
	r.mu.Unlock()
	if b != nil {
		return b.child.pid, b.sandbox.UIDs, nil
	}
	c, err := r.running(id)
	if err != nil {
		return 0, 0, err
	}
	s := c.status()
	return s.PID, s.Sandbox.UIDs, nil
}

// List returns all sandboxes and containers, ordered by ID. It implements container.Runtime.
func (r *Runtime) List(ctx context.Context) ([]container.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listLocked(), ctx.Err()
}

func (r *Runtime) listLocked() []container.Status {
	var list []container.Status
	for _, b := range r.boxes {
		list = append(list, b.status())
	}
	for _, c := range r.containers {
		if s := c.status(); s.Phase != "" {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b container.Status) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Watch implements container.Runtime.
func (r *Runtime) Watch(ctx context.Context) (<-chan container.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hub.Subscribe(ctx, r.listLocked()), nil
}

// Signal implements container.Runtime.
func (r *Runtime) Signal(_ context.Context, id string, sig syscall.Signal) error {
	c, err := r.running(id)
	if err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(c.pidfd, sig, nil, 0); err != nil {
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EBADF) {
			return holdfast.Errorf(holdfast.ErrNotFound, "container %s ended", id)
		}
		return fmt.Errorf("signal container %s: %w", id, err)
	}
	return nil
}

// Kill implements container.Runtime. Killing what ended is no error.
func (r *Runtime) Kill(_ context.Context, id string) error {
	c, err := r.find(id)
	if err != nil || c.ended() {
		return err
	}
	if err := c.kill(); err != nil {
		return fmt.Errorf("kill container %s: %w", id, err)
	}
	return nil
}

// Remove implements container.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	r.mu.Lock()
	b := r.boxes[id]
	c := r.containers[id]
	delete(r.boxes, id)
	r.mu.Unlock()
	if b != nil {
		r.discard(b)
	}
	if c == nil {
		return nil
	}
	if err := r.remove(ctx, c); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

func (r *Runtime) remove(ctx context.Context, c *ctr) error {
	if !c.ended() {
		if err := c.kill(); err != nil {
			return err
		}
	}
	select {
	case <-c.freed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.mu.Lock()
	if r.containers[c.id] != c {
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
	// The record goes first: a crash after it leaves a directory that belongs to nothing, which New sweeps.
	if err := errors.Join(c.record.remove(r.recordPath(c)), os.RemoveAll(r.boxDir(c.now.Sandbox.ID))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, c.id)
	return nil
}

// Stats implements container.Runtime.
func (r *Runtime) Stats(_ context.Context, id string) (container.Stats, error) {
	c, err := r.running(id)
	if err != nil {
		return container.Stats{}, err
	}
	return c.cgroup.stats(r.cfg.Now())
}

// Pause implements container.Runtime.
func (r *Runtime) Pause(_ context.Context, id string) error {
	return r.freeze(id, cgroups.Frozen, container.Paused)
}

// Resume implements container.Runtime.
func (r *Runtime) Resume(_ context.Context, id string) error {
	return r.freeze(id, cgroups.Thawed, container.Running)
}

func (r *Runtime) freeze(id string, state cgroups.FreezerState, phase container.Phase) error {
	c, err := r.running(id)
	if err != nil {
		return err
	}
	if err := c.cgroup.freeze(state); err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	r.change(c, func(s *container.Status) {
		if s.Phase != container.Exited {
			s.Phase = phase
		}
	})
	return nil
}
