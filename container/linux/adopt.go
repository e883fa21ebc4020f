//go:build linux

package linux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux/stdio"
)

// adopt takes over what an earlier runtime left, and removes what belongs to nothing.
func (r *Runtime) adopt() error {
	if err := r.vault.adopt(); err != nil {
		return fmt.Errorf("adopt vault: %w", err)
	}
	if err := r.adoptBoxes(); err != nil {
		return fmt.Errorf("adopt sandboxes: %w", err)
	}
	if err := r.adoptContainers(); err != nil {
		return fmt.Errorf("adopt containers: %w", err)
	}
	r.sweepPipes()
	return r.sweepCgroups()
}

func (r *Runtime) adoptBoxes() error {
	files, err := filepath.Glob(filepath.Join(r.cfg.RunDir, boxesDir, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := r.openBox(file)
		if err != nil {
			r.cfg.Log.Info("drop sandbox", "file", file, "reason", err)
			r.forgetBox(strings.TrimSuffix(filepath.Base(file), ".json"))
			continue // its process, if any, goes with its cgroup
		}
		r.boxes[b.sandbox.ID] = b
	}
	return nil
}

func (r *Runtime) adoptContainers() error {
	entries, err := os.ReadDir(r.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || r.boxes[e.Name()] != nil {
			continue
		}
		rec, err := readRecord(filepath.Join(r.boxDir(e.Name()), recordFile))
		if err != nil { // a crash during start or removal
			r.cfg.Log.Info("drop what is no container", "dir", e.Name(), "reason", err)
			if err := os.RemoveAll(r.boxDir(e.Name())); err != nil {
				return err
			}
			continue
		}
		if err := r.adoptContainer(rec); err != nil {
			return fmt.Errorf("adopt container %s: %w", rec.Status.ID, err)
		}
	}
	return nil
}

func (r *Runtime) adoptContainer(rec *record) error {
	c := &ctr{id: rec.Status.ID, now: rec.Status, record: *rec, done: make(chan struct{}), freed: make(chan struct{}), pidfd: -1}
	r.containers[c.id] = c
	if rec.Status.Phase == container.Exited {
		close(c.done)
		close(c.freed)
		return r.removeLayer(c)
	}
	var err error
	if c.cgroup, err = newCgroup(r.cfg.CgroupParent, rec.Status.Sandbox.ID); err != nil {
		return err
	}
	if c.pidfd, err = r.findProcess(rec); err != nil {
		r.cfg.Log.Warn("container ended unseen", "container", c.id, "reason", err)
		return r.buryContainer(c)
	}
	if c.cgroup.frozen() {
		c.now.Phase = container.Paused
	}
	r.ids.share(rec.Status.Sandbox.UIDs)
	r.vault.use(rec.Slots)
	r.zygote.family.add(rec.Status.PID)
	if err := c.watch(c.pidfd); err != nil {
		return err
	}
	c.io = r.reopenStreams(rec)
	r.background.Go(func() { r.await(c) })
	return nil
}

// findProcess returns a pidfd of the container's first process, alive or not, that tells how it ended.
func (r *Runtime) findProcess(rec *record) (int, error) {
	if rec.Boot != r.cfg.BootID {
		return -1, errors.New("the machine was restarted")
	}
	if fd, err := r.vault.take(rec.Slots.Process); err == nil {
		return fd, nil
	}
	return openProcess(rec.Status.PID, rec.StartTime)
}

// buryContainer records the end of a container that nobody can tell more about.
func (r *Runtime) buryContainer(c *ctr) error {
	if c.record.Boot == r.cfg.BootID {
		if err := c.cgroup.killAll(); err != nil {
			return err
		}
	}
	r.ended(c, unknownExit, c.cgroup.exists() && c.cgroup.oomKills() > 0)
	close(c.freed)
	return r.removeLayer(c)
}

func (r *Runtime) removeLayer(c *ctr) error {
	var errs []error
	for _, name := range []string{"upper", "work"} {
		errs = append(errs, os.RemoveAll(filepath.Join(r.boxDir(c.now.Sandbox.ID), name)))
	}
	return errors.Join(errs...)
}

// reopenStreams opens our ends of the streams of a container that runs. What cannot be opened is lost: the container
// does not notice.
func (r *Runtime) reopenStreams(rec *record) *streams {
	s := &streams{
		dir: r.pipeDir(rec.Status.Sandbox.ID), ends: [3]int{-1, -1, -1}, log: stdio.NewLog(rec.Log, r.cfg.Now),
		tty: r.vault.takeFile(rec.Slots.Terminal, "terminal"), stdin: r.vault.takeFile(rec.Slots.Stdin, "stdin"),
	}
	defer s.start()
	open := func(stream *stdio.Stream, err error) *stdio.Stream {
		if err != nil {
			r.cfg.Log.Warn("output of adopted container is lost", "container", rec.Status.ID, "err", err)
			return stdio.NoStream()
		}
		return stream
	}
	if rec.Process.Terminal {
		s.out = open(s.terminalOutput())
		return s
	}
	s.out = open(s.reopenOutput("stdout"))
	s.err = open(s.reopenOutput("stderr"))
	return s
}

// sweepPipes removes pipes of containers that are not there.
func (r *Runtime) sweepPipes() {
	dir := filepath.Join(r.cfg.RunDir, pipesDir)
	entries, err := os.ReadDir(dir)
	used := r.sandboxesInUse()
	for _, e := range entries {
		if !used[e.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		r.cfg.Log.Warn("sweep pipes", "err", err)
	}
}

// sandboxesInUse are the IDs of sandboxes that are parked, or in which a container runs.
func (r *Runtime) sandboxesInUse() map[string]bool {
	used := map[string]bool{}
	for id := range r.boxes {
		used[id] = true
	}
	for _, c := range r.containers {
		if !c.ended() {
			used[c.now.Sandbox.ID] = true
		}
	}
	return used
}

// sweepCgroups kills and removes what is left in cgroups of ours that belong to no sandbox and no running container.
func (r *Runtime) sweepCgroups() error {
	used := r.sandboxesInUse()
	for name := range r.leftCgroups() {
		if used[name] {
			continue
		}
		c, err := newCgroup(r.cfg.CgroupParent, name)
		if err != nil {
			return err
		}
		if err := errors.Join(c.killAll(), c.remove()); err != nil {
			r.cfg.Log.Warn("sweep cgroup", "cgroup", name, "err", err)
		}
	}
	return nil
}

// leftCgroups are the names of sandboxes' cgroups in any hierarchy.
func (r *Runtime) leftCgroups() map[string]bool {
	roots := []string{unifiedRoot}
	if !cgroups.IsCgroup2UnifiedMode() {
		roots = nil
		for _, c := range v1Controllers() {
			roots = append(roots, path.Join(unifiedRoot, c))
		}
	}
	names := map[string]bool{}
	for _, root := range roots {
		entries, err := os.ReadDir(path.Join(root, r.cfg.CgroupParent))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.cfg.Log.Warn("list cgroups", "err", err)
		}
		for _, e := range entries {
			if e.IsDir() && strings.HasPrefix(e.Name(), boxPrefix) {
				names[e.Name()] = true
			}
		}
	}
	return names
}

// lock makes sure that no other runtime uses the same directory.
func (r *Runtime) lock() error {
	fd, err := unix.Open(filepath.Join(r.cfg.Dir, "lock"), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		return errLocked
	}
	r.lockFD = fd
	return nil
}
