//go:build linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux/initproc"
	"github.com/holdfast/holdfast/container/linux/stdio"
)

// Exec runs another process in a running container. It implements container.Runtime; the Exec it returns is a
// *stdio.Exec.
func (r *Runtime) Exec(ctx context.Context, id string, spec container.ExecSpec) (container.Exec, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := r.running(id)
	if err != nil {
		return nil, err
	}
	e, err := r.exec(c, spec)
	if err != nil {
		return nil, fmt.Errorf("run process in container %s: %w", id, err)
	}
	return e, nil
}

func (r *Runtime) exec(c *ctr, spec container.ExecSpec) (container.Exec, error) {
	status := c.status()
	if status.Phase == container.Paused {
		return nil, holdfast.Errorf(holdfast.ErrConflict, "the container is paused")
	}
	root, err := c.openRoot()
	if err != nil {
		return nil, err
	}
	defer unix.Close(root.fd)
	l, err := r.execLaunch(c, spec, root)
	if err != nil {
		return nil, err
	}
	ends, files, err := execStreams(spec, root, l.user)
	if err != nil {
		return nil, err
	}
	p, err := r.inject(c, l, ends)
	closeAll(ends)
	if err != nil {
		files.Close()
		return nil, execError(err)
	}
	r.addExec(p)
	return stdio.NewExec(files, p), nil
}

// addExec makes p end with the runtime.
func (r *Runtime) addExec(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.execs[p] = true
	r.background.Go(func() {
		p.await()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.execs, p)
	})
}

// openRoot opens the root directory of a running container.
func (c *ctr) openRoot() (rooted, error) {
	status := c.status()
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/root", status.PID), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil && exited(c.pidfd) { // the pid may be another's by now
		unix.Close(fd)
		err = unix.ESRCH
	}
	if err != nil {
		return rooted{}, holdfast.Errorf(holdfast.ErrNotFound, "open root directory: %w", err)
	}
	return rooted{fd: fd, owner: int(status.Sandbox.UIDs)}, nil
}

// execLaunch decides what runs: as the container's own process unless spec says otherwise.
func (r *Runtime) execLaunch(c *ctr, spec container.ExecSpec, root rooted) (*launch, error) {
	proc := *c.record.Process
	filter := c.record.Seccomp
	proc.Args, proc.Terminal = spec.Args, spec.TTY
	proc.Env = mergeEnv(proc.Env, spec.Env)
	if spec.WorkingDir != "" {
		proc.Cwd = spec.WorkingDir
	}
	if spec.Privileged {
		all := slices.Clone(capNames)
		proc.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
		proc.NoNewPrivileges, filter = false, nil
	}
	l, err := r.newLaunch(&proc, filter, root.owner != 0)
	if err != nil {
		return nil, err
	}
	who, groups := c.record.User, c.record.Groups
	if spec.User != "" {
		who, groups = spec.User, nil
	}
	if err := l.lookUp(root, who, groups); err != nil {
		return nil, err
	}
	return l, l.setHome(root)
}

// mergeEnv returns base with its entries replaced by those of the same name in more, and the others added.
func mergeEnv(base, more []string) []string {
	merged := slices.Clone(base)
	for _, entry := range more {
		name, _, _ := strings.Cut(entry, "=")
		i := slices.IndexFunc(merged, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if i < 0 {
			merged = append(merged, entry)
		} else {
			merged[i] = entry
		}
	}
	return merged
}

// execStreams makes pipes, or a terminal. ends are the process's, in order.
func execStreams(spec container.ExecSpec, root rooted, u user) (ends []int, files stdio.Files, err error) {
	if spec.TTY {
		return execTerminal(spec, root, u)
	}
	defer func() {
		if err != nil {
			closeAll(ends)
			files.Close()
		}
	}()
	for i, near := range []**os.File{&files.Stdin, &files.Stdout, &files.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return ends, files, fmt.Errorf("make pipe: %w", err)
		}
		far := w
		if *near = r; i == 0 {
			*near, far = w, r
		}
		fd, err := blockingCopy(far)
		if err != nil {
			return ends, files, err
		}
		ends = append(ends, fd)
	}
	return ends, files, nil
}

// blockingCopy closes f and returns a descriptor of the same file that blocks, as programs expect it.
func blockingCopy(f *os.File) (int, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0) // Fd makes it blocking
	if err != nil {
		return -1, fmt.Errorf("copy pipe: %w", err)
	}
	return fd, nil
}

func execTerminal(spec container.ExecSpec, root rooted, u user) ([]int, stdio.Files, error) {
	master, slave, err := terminalIn(root)
	if err != nil {
		return nil, stdio.Files{}, err
	}
	files := stdio.Files{Terminal: os.NewFile(uintptr(master), "terminal")}
	if spec.Rows != 0 || spec.Cols != 0 {
		err = resize(master, spec.Rows, spec.Cols)
	}
	if err == nil {
		err = unix.Fchown(slave, root.owner+int(u.uid), -1)
	}
	ends := []int{slave}
	for len(ends) < 3 && err == nil {
		var fd int
		fd, err = unix.FcntlInt(uintptr(slave), unix.F_DUPFD_CLOEXEC, 0)
		ends = append(ends, fd)
	}
	if err != nil {
		closeAll(ends)
		files.Close()
		return nil, stdio.Files{}, fmt.Errorf("set up terminal: %w", err)
	}
	return ends, files, nil
}

// terminalIn makes a terminal on the devpts of a running container, which may have put anything in its place.
func terminalIn(root rooted) (master, slave int, err error) {
	dir, err := root.open("/dev/pts", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, -1, holdfast.Errorf(holdfast.ErrInvalid, "open /dev/pts: %w", err)
	}
	defer unix.Close(dir)
	var st unix.Statfs_t
	if err := unix.Fstatfs(dir, &st); err != nil || st.Type != unix.DEVPTS_SUPER_MAGIC {
		return -1, -1, holdfast.Errorf(holdfast.ErrInvalid, "/dev/pts of the container is no devpts")
	}
	return newTerminal(dir)
}

// inject starts the process that l describes in the container's cgroup and namespaces.
func (r *Runtime) inject(c *ctr, l *launch, ends []int) (*process, error) {
	helper, err := r.zygote.spawn(0, "")
	if err != nil {
		return nil, err
	}
	if err := c.cgroup.manager.AddPid("", helper.pid); err != nil {
		helper.reap()
		return nil, fmt.Errorf("attach process to cgroup: %w", err)
	}
	status := c.status()
	var enter program
	// By the pidfd of the container's first process, not its number: that may be another's by now.
	enter.do("enter container", unix.SYS_SETNS, reg(1), namespacesOf(status.Sandbox))
	enter.do("clone", initproc.OpFork, unix.CLONE_PARENT)
	child, err := helper.fork(&enter, c.pidfd)
	if err != nil {
		return nil, err
	}
	var p program
	if status.Sandbox.UIDs != 0 {
		p.do("become root of the user namespace", unix.SYS_SETRESGID, 0, 0, 0)
		p.do("become root of the user namespace", unix.SYS_SETRESUID, 0, 0, 0)
	}
	l.perform(&p)
	answer, err := p.run(child.ctl, ends...)
	if err == nil && !answer.gone {
		err = errors.New("process answered out of turn")
	}
	if err != nil {
		child.reap()
		return nil, err
	}
	return &process{child: child, done: make(chan struct{})}, nil
}

// namespacesOf are the flags for setns(2) of the namespaces that are the sandbox's and not the node's.
func namespacesOf(s container.Sandbox) int {
	flags := int(cloneFlags(s.Opt)) | unix.CLONE_NEWCGROUP
	if s.Opt.NetOf != "" {
		flags |= unix.CLONE_NEWNET
	}
	if s.UIDs != 0 {
		flags |= unix.CLONE_NEWUSER
	}
	return flags
}

// process is one that Exec started.
type process struct {
	child *child
	done  chan struct{}
	once  sync.Once
	code  int

	mu sync.Mutex // the child is open while it is held and done is not closed
}

func (p *process) await() {
	_ = waitForEnd(p.child.pidfd) // then it is a zombie at least
	p.mu.Lock()
	defer p.mu.Unlock()
	p.code = p.child.wait()
	close(p.done)
}

// Signal implements stdio.Control.
func (p *process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return holdfast.Errorf(holdfast.ErrNotFound, "the process ended")
	default:
	}
	if err := unix.PidfdSendSignal(p.child.pidfd, sig, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("signal process: %w", err)
	}
	return nil
}

// Wait implements stdio.Control.
func (p *process) Wait() (int, error) {
	<-p.done
	return p.code, nil
}

// CloseStdin implements stdio.Control: whoever has the pipe closes it.
func (p *process) CloseStdin() error { return nil }

// Close implements stdio.Control. It kills the process.
func (p *process) Close() error {
	p.once.Do(func() { _ = p.Signal(unix.SIGKILL) })
	<-p.done
	return nil
}
