//go:build linux

package linux

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
)

// ctr is a container that runs or ran.
type ctr struct {
	id     string
	cgroup *cgroup
	image  *imageMount   // nil: none, or freed
	io     *streams      // nil once ended, or when nothing of it is left to adopt
	done   chan struct{} // closed when it ended and its exit is on disk
	freed  chan struct{} // closed when nothing is left of it but that
	pidfd  int
	proc   *os.File // pidfd, to wait for

	mu  sync.Mutex
	now container.Status

	saving sync.Mutex
	record record
}

func (c *ctr) status() container.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *ctr) ended() bool { return c.status().Phase == container.Exited }

// kill ends all processes of the container.
func (c *ctr) kill() error {
	_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0) // it ends all others of its pid namespace with it
	err := c.cgroup.killAll()
	if err != nil && c.ended() { // its cgroup is being removed
		return nil
	}
	return err
}

// change updates the container's status and tells the watchers, in one order for all.
func (r *Runtime) change(c *ctr, f func(*container.Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.mu.Lock()
	f(&c.now)
	s := c.now
	c.mu.Unlock()
	r.hub.Publish(s)
}

// record writes the container down before its program runs, so that a crash from then on loses nothing of it.
func (s *starting) record() error {
	b, r := s.box, s.r
	startTime, err := processStartTime(b.child.pid)
	if err != nil {
		return err
	}
	c := &ctr{id: s.spec.ID, cgroup: b.cgroup, done: make(chan struct{}), freed: make(chan struct{}), pidfd: -1}
	c.now = container.Status{
		ID: s.spec.ID, Phase: container.Running, PID: b.child.pid, Sandbox: b.sandbox, Labels: s.spec.Labels, Started: r.cfg.Now(),
	}
	c.record = record{
		Version: recordVersion, Boot: r.cfg.BootID, StartTime: startTime, Status: c.now,
		Process: s.spec.OCI.Process, Seccomp: s.spec.OCI.Linux.Seccomp, User: s.spec.User, Groups: s.spec.Groups,
		Log: s.spec.Log, Stdin: s.spec.Stdin, Slots: s.slots,
	}
	s.ctr = c
	return c.record.write(r.recordPath(c), false)
}

// keepStreams puts into the vault what would be lost with this process.
func (s *starting) keepStreams() error {
	for _, kept := range []struct {
		slot int
		file *os.File
	}{{s.slots.Terminal, s.io.tty}, {s.slots.Stdin, s.io.stdin}} {
		if kept.file == nil {
			continue
		}
		if err := s.r.vault.put(kept.slot, rawFD(kept.file)); err != nil {
			return err
		}
	}
	return nil
}

func rawFD(f *os.File) int {
	own := -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { own = int(fd) }) // the kernel refuses -1
	}
	return own
}

// save changes the container's record and writes it.
func (c *ctr) save(r *Runtime, durable bool, change func(*record)) error {
	c.saving.Lock()
	defer c.saving.Unlock()
	change(&c.record)
	return c.record.write(r.recordPath(c), durable)
}

func (r *Runtime) recordPath(c *ctr) string {
	return filepath.Join(r.boxDir(c.now.Sandbox.ID), recordFile)
}

// started makes the container known and waits for its end in the background.
func (r *Runtime) started(s *starting) container.Status {
	c := s.ctr
	c.image, c.io = s.image, s.io
	if err := c.watch(s.box.child.pidfd); err != nil {
		r.cfg.Log.Error("watch container", "container", c.id, "err", err)
	}
	s.box.child.pidfd = -1
	s.io.start()
	r.mu.Lock()
	delete(r.claimed, c.id)
	r.containers[c.id] = c
	r.mu.Unlock()
	r.change(c, func(*container.Status) {})
	status := c.status()
	r.background.Go(func() {
		if err := r.vault.put(s.slots.Process, c.pidfd); err != nil {
			r.cfg.Log.Warn("keep process", "container", c.id, "err", err)
		}
		s.close()
		s.box.close()
		r.forgetBox(s.box.sandbox.ID)
		r.await(c)
	})
	return status
}

// watch makes pidfd the container's.
func (c *ctr) watch(pidfd int) error {
	c.pidfd = pidfd
	err := unix.SetNonblock(pidfd, true)
	c.proc = os.NewFile(uintptr(pidfd), "pidfd")
	return err
}

// close gives up what only the start needed.
func (s *starting) close() {
	for _, m := range s.mounts {
		m.close()
	}
	for _, fd := range []int{s.root, s.null} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// abort leaves nothing of a container that could not be started.
func (s *starting) abort() {
	r := s.r
	s.close()
	if s.io != nil {
		s.io.close()
	}
	r.discard(s.box)
	if err := r.vault.drop(s.slots.list()...); err != nil {
		r.cfg.Log.Warn("empty vault", "container", s.spec.ID, "err", err)
	}
	r.dropImage(s.image)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.claimed, s.spec.ID)
}

// letGo stops watching a container, for another runtime to do so.
func (c *ctr) letGo() {
	if c.ended() {
		return
	}
	c.proc.Close()
	c.io.letGo()
}

// await waits for the container's end, and cleans up after it.
func (r *Runtime) await(c *ctr) {
	code, err := c.exitCode()
	if err != nil { // closed: the next runtime will see the end
		return
	}
	r.zygote.family.remove(c.now.PID)
	if err := c.cgroup.killAll(); err != nil {
		r.cfg.Log.Warn("kill what the container left", "container", c.id, "err", err)
	}
	oom := c.cgroup.oomKills() > 0
	c.io.finish()
	r.ended(c, code, oom)
	r.release(c)
}

// ended records the exit, for good, before anybody hears of it.
func (r *Runtime) ended(c *ctr, code int, oom bool) {
	finish := func(s *container.Status) {
		s.Phase, s.ExitCode, s.OOM, s.Finished = container.Exited, code, oom, r.cfg.Now()
	}
	if err := c.save(r, true, func(rec *record) { finish(&rec.Status) }); err != nil {
		r.cfg.Log.Error("record exit", "container", c.id, "err", err)
	}
	r.change(c, finish)
	close(c.done)
}

// release frees what an ended container does not need.
func (r *Runtime) release(c *ctr) {
	defer close(c.freed)
	if err := c.cgroup.remove(); err != nil {
		r.cfg.Log.Warn("remove cgroup", "container", c.id, "err", err)
	}
	c.proc.Close()
	if err := r.vault.drop(c.record.Slots.list()...); err != nil {
		r.cfg.Log.Warn("empty vault", "container", c.id, "err", err)
	}
	r.ids.drop(c.status().Sandbox.UIDs)
	r.dropImage(c.image)
	if err := errors.Join(r.removeLayer(c), os.RemoveAll(r.pipeDir(c.now.Sandbox.ID))); err != nil {
		r.cfg.Log.Warn("remove writable layer", "container", c.id, "err", err)
	}
}

// exitCode waits for the first process to end. An error says that the runtime is closing.
func (c *ctr) exitCode() (code int, err error) {
	raw, err := c.proc.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = raw.Read(func(fd uintptr) (done bool) {
		code, done = tryWait(int(fd), c.now.PID, c.record.StartTime)
		return done
	})
	return code, err
}

// unknownExit is the exit code of a container whose end nobody saw.
const unknownExit = 255
