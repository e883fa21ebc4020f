//go:build linux

package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux/stdio"
)

// Exec implements container.Runtime. The Exec it returns is a *stdio.Exec.
func (r *Runtime) Exec(ctx context.Context, id string, spec container.ExecSpec) (container.Exec, error) {
	b, err := r.running(id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	paused := b.Status.Phase == container.Paused
	r.mu.Unlock()
	if paused {
		return nil, holdfast.Errorf(holdfast.ErrConflict, "exec in container %s: it is paused", id)
	}
	p, err := r.exec(ctx, b, spec)
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", id, err)
	}
	return stdio.NewExec(p.files, p), nil
}

func (r *Runtime) exec(ctx context.Context, b *box, spec container.ExecSpec) (*process, error) {
	if len(spec.Args) == 0 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "no command")
	}
	dir, err := os.MkdirTemp(b.path(r), "exec-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := r.writeProcess(b, spec, filepath.Join(dir, "process.json")); err != nil {
		return nil, err
	}
	c := command{args: []string{
		"exec", "--detach", "--process", filepath.Join(dir, "process.json"), "--pid-file", filepath.Join(dir, "pid"),
	}}
	p, err := r.spawn(ctx, b, c, spec, filepath.Join(dir, "pid"))
	if err != nil {
		// What crun leaves of a process that it could not start is now a zombie of ours, for which the end of the
		// container would wait.
		r.execs.Lock()
		r.reapStrays()
		r.execs.Unlock()
		return nil, err
	}
	return p, nil
}

// spawn has the program start the process. Its ID is written to pidFile.
func (r *Runtime) spawn(ctx context.Context, b *box, c command, spec container.ExecSpec, pidFile string) (*process, error) {
	r.execs.RLock()
	defer r.execs.RUnlock()
	p := &process{}
	run := r.execPipes
	if spec.TTY {
		run = r.execTerminal
	}
	defer r.cfg.Children.Birth()()
	err := run(ctx, b, p, c, spec)
	if err == nil {
		err = p.open(pidFile)
	}
	if err != nil {
		p.files.Close()
		return nil, err
	}
	r.mu.Lock()
	r.known[p.pid] = true
	r.mu.Unlock()
	r.cfg.Children.Add(p.pid)
	p.reaped = func() {
		r.cfg.Children.Remove(p.pid)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.known, p.pid)
	}
	return p, nil
}

// reapStrays reaps those zombies among our children that are of a container and that nobody waits for. The caller
// holds execs: no process is between its start and its entry in known.
func (r *Runtime) reapStrays() {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread ended
		}
		for _, word := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(word)
			if err != nil || r.awaited(pid) || !inOtherPIDNS(pid) {
				continue
			}
			if s, err := readStat(pid); err == nil && s.state == 'Z' {
				var status unix.WaitStatus
				_, _ = unix.Wait4(pid, &status, unix.WNOHANG, nil) // another thread may have been faster
			}
		}
	}
}

// awaited reports whether pid is a container's first process or one that Exec returned.
func (r *Runtime) awaited(pid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.boxes {
		if b.starting || b.Status.PID == pid {
			return true
		}
	}
	return r.known[pid]
}

// inOtherPIDNS reports whether the process has an ID in a namespace below ours.
func inOtherPIDNS(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(text)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok && err == nil {
			return len(strings.Fields(ids)) > 1
		}
	}
	return false
}

// writeProcess writes the process of the container, changed as spec says.
func (r *Runtime) writeProcess(b *box, spec container.ExecSpec, file string) error {
	text, err := os.ReadFile(b.path(r, "config.json"))
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	var config specs.Spec
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	p := config.Process
	p.Args, p.Terminal, p.ConsoleSize = spec.Args, spec.TTY, nil
	p.Env = mergeEnv(p.Env, spec.Env)
	if spec.WorkingDir != "" {
		p.Cwd = spec.WorkingDir
	}
	if spec.TTY && spec.Rows > 0 {
		p.ConsoleSize = &specs.Box{Height: uint(spec.Rows), Width: uint(spec.Cols)}
	}
	if spec.User != "" {
		user, err := lookup("/proc/"+strconv.Itoa(b.Status.PID)+"/root", spec.User, nil)
		if err != nil {
			return err
		}
		user.Umask = p.User.Umask
		p.User = user
	}
	if spec.Privileged {
		all := ownCapabilities()
		p.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
		p.NoNewPrivileges = false
	}
	if text, err = json.Marshal(p); err != nil {
		return fmt.Errorf("encode process: %w", err)
	}
	return os.WriteFile(file, text, 0o600)
}

// ownCapabilities are those of this process: more cannot be given.
func ownCapabilities() []string {
	var all []string
	for n, name := range capabilityOrder {
		if bounded(n) {
			all = append(all, name)
		}
	}
	return all
}

// mergeEnv adds variables, the later ones of one name in place of the earlier.
func mergeEnv(env, more []string) []string {
	out := append([]string(nil), env...)
	for _, e := range more {
		name, _, _ := strings.Cut(e, "=")
		kept := out[:0:0]
		for _, o := range out {
			if !strings.HasPrefix(o, name+"=") {
				kept = append(kept, o)
			}
		}
		out = append(kept, e)
	}
	return out
}

func (r *Runtime) execPipes(ctx context.Context, b *box, p *process, c command, _ container.ExecSpec) error {
	for _, stream := range []struct {
		theirs, ours **os.File
		input        bool
	}{{&c.stdin, &p.files.Stdin, true}, {&c.stdout, &p.files.Stdout, false}, {&c.stderr, &p.files.Stderr, false}} {
		reader, writer, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("make pipe: %w", err)
		}
		if stream.input {
			reader, writer = writer, reader
		}
		*stream.ours, *stream.theirs = reader, writer
		defer writer.Close()
	}
	c.args = append(c.args, b.Status.ID)
	return r.call(ctx, c)
}

func (r *Runtime) execTerminal(ctx context.Context, b *box, p *process, c command, spec container.ExecSpec) error {
	console, err := r.listenConsole()
	if err != nil {
		return err
	}
	defer console.close()
	c.args = append(c.args, "--tty", "--console-socket", console.path, b.Status.ID)
	if err := r.call(ctx, c); err != nil {
		return err
	}
	if p.files.Terminal, err = console.accept(); err != nil {
		return err
	}
	if spec.Rows > 0 {
		return stdio.NewExec(p.files, p).Resize(spec.Rows, spec.Cols)
	}
	return nil
}

// process is an exec'd process: a stdio.Control.
type process struct {
	pid       int
	startTime uint64
	pidfd     *os.File
	files     stdio.Files
	reaped    func() // forgets the process

	once sync.Once
	code int
	err  error
}

func (p *process) open(pidFile string) error {
	pid, stat, err := readPIDFile(pidFile)
	if err != nil {
		return err
	}
	p.pid, p.startTime = pid, stat.startTime
	if p.pidfd, err = openPID(pid, stat.startTime); err != nil {
		return err
	}
	if p.pidfd == nil {
		return holdfast.Errorf(holdfast.ErrUnavailable, "process %d is gone", pid)
	}
	return nil
}

func (p *process) Signal(sig syscall.Signal) error { return sendSignal(p.pidfd, sig) }

func (p *process) Wait() (int, error) {
	p.once.Do(func() {
		p.code, p.err = waitPID(p.pidfd, p.pid, p.startTime)
		p.reaped()
		if p.err != nil {
			p.err = fmt.Errorf("wait for process %d: %w", p.pid, p.err)
		}
	})
	return p.code, p.err
}

// CloseStdin has nothing to do: the near end of the pipe is the only one.
func (p *process) CloseStdin() error { return nil }

// Close kills the process if it still runs, and reaps it.
func (p *process) Close() error {
	err := ignore(sendSignal(p.pidfd, syscall.SIGKILL), holdfast.ErrNotFound)
	if err == nil {
		_, err = p.Wait()
	}
	return errors.Join(err, p.pidfd.Close())
}
