//go:build linux

package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
)

// Exec implements container.Runtime.
func (r *Runtime) Exec(ctx context.Context, id string, spec container.ExecSpec) (container.Exec, error) {
	b, err := r.running(id)
	if err != nil {
		return nil, err
	}
	p, err := r.exec(ctx, b, spec)
	if err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", id, err)
	}
	return p, nil
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
	if err := run(ctx, b, p, c, spec); err != nil {
		return nil, err
	}
	if err := p.open(pidFile); err != nil {
		p.closeStreams()
		return nil, err
	}
	r.mu.Lock()
	r.known[p.pid] = true
	r.mu.Unlock()
	p.reaped = func() {
		r.mu.Lock()
		delete(r.known, p.pid)
		r.mu.Unlock()
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
	var theirs [3]*os.File
	var ours [3]*os.File
	for i := range theirs {
		reader, writer, err := os.Pipe()
		if err != nil {
			p.closeStreams()
			return fmt.Errorf("make pipe: %w", err)
		}
		theirs[i], ours[i] = writer, reader
		if i == 0 {
			theirs[i], ours[i] = reader, writer
		}
		defer theirs[i].Close()
		p.files = append(p.files, ours[i])
	}
	p.stdin, p.stdout, p.stderr = ours[0], ours[1], ours[2]
	c.stdin, c.stdout, c.stderr = theirs[0], theirs[1], theirs[2]
	c.args = append(c.args, b.Status.ID)
	if err := r.call(ctx, c); err != nil {
		p.closeStreams()
		return err
	}
	return nil
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
	if p.master, err = console.accept(); err != nil {
		return err
	}
	p.files, p.stdin, p.stdout = []*os.File{p.master}, keepOpen{p.master}, terminalReader{p.master}
	if spec.Rows > 0 {
		return resize(p.master, spec.Rows, spec.Cols)
	}
	return nil
}

// process is an exec'd process.
type process struct {
	pid       int
	startTime uint64
	pidfd     *os.File
	master    *os.File
	files     []*os.File
	stdin     io.WriteCloser
	stdout    io.Reader
	stderr    io.Reader

	reaped func() // forgets the process

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

func (p *process) Stdin() io.WriteCloser { return p.stdin }
func (p *process) Stdout() io.Reader     { return p.stdout }
func (p *process) Stderr() io.Reader     { return p.stderr }

func (p *process) Resize(rows, cols uint16) error { return resize(p.master, rows, cols) }

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

// Close kills the process if it still runs, and reaps it.
func (p *process) Close() error {
	err := sendSignal(p.pidfd, syscall.SIGKILL)
	if errors.Is(err, holdfast.ErrNotFound) {
		err = nil
	}
	if err == nil {
		_, err = p.Wait()
	}
	p.closeStreams()
	return errors.Join(err, p.pidfd.Close())
}

func (p *process) closeStreams() {
	for _, f := range p.files {
		f.Close()
	}
}
