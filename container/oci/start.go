//go:build linux

package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// Start implements container.Runtime. It returns when the program said that it started the process, which is a moment
// before execve: of what can fail there, only files of an unknown format are found before.
func (r *Runtime) Start(ctx context.Context, spec container.Spec) (container.Status, error) {
	b, err := r.reserve(ctx, spec)
	if err != nil {
		return container.Status{}, err
	}
	if err := r.start(ctx, b); err != nil {
		err = fmt.Errorf("start %s in container %s: %w", spec.OCI.Process.Args[0], spec.ID, err)
		r.mu.Lock()
		delete(r.boxes, spec.ID)
		r.mu.Unlock()
		return container.Status{}, errors.Join(err, r.reapFailed(b), r.discard(context.WithoutCancel(ctx), b))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return b.Status, nil
}

// reapFailed ends the process of a container that was created and not started.
func (r *Runtime) reapFailed(b *box) error {
	if b.pidfd == nil {
		return nil
	}
	if err := r.killCgroup(b.Status.ID); err != nil {
		return err
	}
	_, err := waitPID(b.pidfd, b.createdPID, 0)
	r.cfg.Children.Remove(b.createdPID)
	return err
}

// reserve uses up the sandbox and takes the container's ID, on disk too.
func (r *Runtime) reserve(ctx context.Context, spec container.Spec) (*box, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	sandbox := r.boxes[spec.Sandbox]
	if r.closed || sandbox == nil || sandbox.Status.Phase != container.Parked {
		r.mu.Unlock()
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "sandbox %q is not parked", spec.Sandbox)
	}
	delete(r.boxes, spec.Sandbox)
	b := &box{ended: make(chan struct{}), starting: true}
	b.Spec = spec
	b.Status = container.Status{ID: spec.ID, Phase: container.Running, Sandbox: sandbox.Status.Sandbox, Labels: spec.Labels}
	err := check(spec)
	if err == nil {
		err = checkCapabilities(spec.OCI.Process.Capabilities)
	}
	if err == nil && r.boxes[spec.ID] != nil {
		err = holdfast.Errorf(holdfast.ErrConflict, "container %s exists", spec.ID)
	}
	if err == nil {
		r.boxes[spec.ID] = b
	}
	r.mu.Unlock()
	if err != nil {
		return nil, errors.Join(err, r.discard(ctx, sandbox))
	}
	err = os.Mkdir(b.path(r), 0o700)
	if err == nil {
		err = r.change(b, func(*container.Status) {})
	}
	// From here on the namespace is the container's, should we die: sweepNets leaves it.
	if err == nil {
		err = os.RemoveAll(sandbox.path(r))
	}
	if err != nil {
		r.mu.Lock()
		delete(r.boxes, spec.ID)
		r.mu.Unlock()
		return nil, errors.Join(fmt.Errorf("start container %s: %w", spec.ID, err), r.discard(ctx, b), r.discard(ctx, sandbox))
	}
	return b, nil
}

func (r *Runtime) start(ctx context.Context, b *box) error {
	if err := r.mountRootfs(b); err != nil {
		return err
	}
	if err := r.writeBundle(b); err != nil {
		return err
	}
	pid, startTime, err := r.make(ctx, b)
	if err != nil {
		return err
	}
	if err := r.call(ctx, command{args: []string{"start", b.Status.ID}}); err != nil {
		return err
	}
	b.StartTime = startTime
	b.starting = false
	if err := r.change(b, func(s *container.Status) { s.PID, s.Started = pid, r.cfg.Now() }); err != nil {
		b.starting = true
		return err
	}
	r.work.Go(func() { r.follow(b) })
	return nil
}

// make creates the container and opens its process.
func (r *Runtime) make(ctx context.Context, b *box) (pid int, startTime uint64, err error) {
	defer r.cfg.Children.Birth()()
	if err := r.create(ctx, b); err != nil {
		return 0, 0, err
	}
	pid, stat, err := readPIDFile(b.path(r, "pid"))
	if err != nil {
		return 0, 0, err
	}
	if b.pidfd, err = openPID(pid, stat.startTime); err != nil {
		return 0, 0, err
	}
	b.createdPID = pid
	r.cfg.Children.Add(pid)
	return pid, stat.startTime, nil
}

// create has the program make the container, whose process waits for start.
func (r *Runtime) create(ctx context.Context, b *box) error {
	c := command{args: []string{"create", "--bundle", b.path(r), "--pid-file", b.path(r, "pid")}}
	if b.Spec.OCI.Process.Terminal {
		return r.createTerminal(ctx, b, c)
	}
	for _, name := range append([]string{"stdin"}, streamNames...) {
		if err := unix.Mkfifo(b.path(r, name), 0o600); err != nil {
			return fmt.Errorf("make pipe for %s: %w", name, err)
		}
	}
	// Open for reading and writing: the container itself keeps its pipes alive.
	files := make([]*os.File, 2)
	for i, name := range streamNames {
		fd, err := unix.Open(b.path(r, name), unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open pipe for %s: %w", name, err)
		}
		files[i] = os.NewFile(uintptr(fd), name)
		defer files[i].Close()
	}
	c.stdout, c.stderr = files[0], files[1]
	if b.Spec.Stdin {
		stdin, err := r.openStdin(b)
		if err != nil {
			return err
		}
		defer stdin.Close()
		c.stdin = stdin
	}
	var err error
	if b.out, err = r.openOutput(b); err != nil {
		return err
	}
	c.args = append(c.args, b.Status.ID)
	return r.call(ctx, c)
}

// openStdin opens both sides of the container's standard input.
func (r *Runtime) openStdin(b *box) (theirs *os.File, err error) {
	p := b.path(r, "stdin")
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open standard input: %w", err)
	}
	if b.stdin, err = os.OpenFile(p, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open standard input: %w", err)
	}
	return os.NewFile(uintptr(fd), "stdin"), nil
}

func (r *Runtime) createTerminal(ctx context.Context, b *box, c command) error {
	out, err := r.openOutput(b)
	if err != nil {
		return err
	}
	b.out = out
	console, err := r.listenConsole()
	if err != nil {
		return err
	}
	defer console.close()
	c.args = append(c.args, "--console-socket", console.path, b.Status.ID)
	if err := r.call(ctx, c); err != nil {
		return err
	}
	if b.master, err = console.accept(); err != nil {
		return err
	}
	out.read(b.master, streamNames[0])
	return nil
}

func readPIDFile(file string) (int, procStat, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, procStat{}, fmt.Errorf("read process id: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, procStat{}, fmt.Errorf("read process id: %w", err)
	}
	stat, err := readStat(pid)
	if err != nil {
		return 0, procStat{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	return pid, stat, nil
}

// discard removes all that there may be of a container or sandbox, but for its log.
func (r *Runtime) discard(ctx context.Context, b *box) error {
	id := b.Status.ID
	b.letGo()
	if b.Status.Phase != container.Parked {
		if err := r.killCgroup(id); err != nil {
			return err
		}
		if _, err := os.Stat(r.path("run", id)); err == nil {
			if err := r.call(ctx, command{args: []string{"delete", "--force", id}}); err != nil {
				return err
			}
		}
		if err := r.removeCgroup(id); err != nil {
			return fmt.Errorf("remove cgroup of %s: %w", id, err)
		}
	}
	if err := r.unmountRootfs(b); err != nil {
		return err
	}
	if b.Status.Sandbox.ID != "" {
		if err := r.dropNet(b.Status.Sandbox.ID); err != nil {
			return err
		}
	}
	if err := ignore(os.RemoveAll(b.path(r)), fs.ErrNotExist); err != nil {
		return fmt.Errorf("remove state of %s: %w", id, err)
	}
	return nil
}
