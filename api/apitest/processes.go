package apitest

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// Processes runs real local processes in place of replicas'. An attached one is `cat`.
type Processes struct {
	mu      sync.Mutex
	signals []string
	closed  int
}

// Exec implements api.Processes.
func (p *Processes) Exec(_ context.Context, replica string, spec container.ExecSpec) (container.Exec, error) {
	if why, ok := map[string]string{"absent": "no such file or directory", "/etc": "permission denied"}[spec.Args[0]]; ok {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "run process in container %s: execute %s: %s", replica, spec.Args[0], why)
	}
	return p.start(spec)
}

// Attach implements api.Processes.
func (p *Processes) Attach(context.Context, string) (container.Exec, error) {
	return p.start(container.ExecSpec{Args: []string{"cat"}})
}

func (p *Processes) start(spec container.ExecSpec) (container.Exec, error) {
	cmd := exec.Command(spec.Args[0], spec.Args[1:]...)
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Dir = spec.WorkingDir
	e := &local{cmd: cmd, onClose: func() { p.mu.Lock(); p.closed++; p.mu.Unlock() }}
	if spec.TTY {
		return e, e.startTTY(spec)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	var outW, errW *os.File
	if e.stdout, outW, err = os.Pipe(); err != nil {
		return nil, err
	}
	if e.stderr, errW, err = os.Pipe(); err != nil {
		return nil, err
	}
	e.stdin, cmd.Stdout, cmd.Stderr = in, outW, errW
	err = cmd.Start()
	_ = outW.Close()
	_ = errW.Close()
	return e, err
}

// Signals returns the signals sent so far, as "<replica> <signal>".
func (p *Processes) Signals() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.signals...)
}

// Closed returns how many processes were closed.
func (p *Processes) Closed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// Signal implements api.Processes.
func (p *Processes) Signal(_ context.Context, replica string, sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signals = append(p.signals, replica+" "+sig.String())
	return nil
}

// Stats implements api.Processes: each reading is a second of CPU more.
func (p *Processes) Stats(context.Context, string) (container.Stats, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signals = append(p.signals, "stats")
	n := len(p.signals)
	return container.Stats{
		Time: Epoch.Add(time.Duration(n) * time.Second), CPU: time.Duration(n) * 250 * time.Millisecond,
		Memory: 12 << 20, MemoryLimit: 64 << 20, PIDs: 3,
	}, nil
}

// Dial implements api.Processes: the port is this machine's.
func (p *Processes) Dial(_ context.Context, replica string, port uint16) (net.Conn, error) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "connect to port %d of %s: %w", port, replica, err)
	}
	return conn, nil
}

// local is a local process.
type local struct {
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr *os.File
	pty            *os.File
	onClose        func()
	once           sync.Once
}

func (e *local) startTTY(spec container.ExecSpec) error {
	master, slave, err := OpenPTY()
	if err != nil {
		return err
	}
	defer slave.Close()
	e.cmd.Stdin, e.cmd.Stdout, e.cmd.Stderr = slave, slave, slave
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	e.pty, e.stdout, e.stdin = master, master, master
	if err := e.Resize(spec.Rows, spec.Cols); err != nil {
		return err
	}
	return e.cmd.Start()
}

func (e *local) Stdin() io.WriteCloser { return e.stdin }
func (e *local) Stdout() io.Reader     { return e.stdout }

func (e *local) Stderr() io.Reader {
	if e.stderr == nil {
		return nil
	}
	return e.stderr
}

func (e *local) Resize(rows, cols uint16) error {
	if e.pty == nil {
		return nil
	}
	return SetSize(e.pty, rows, cols)
}

func (e *local) Signal(sig syscall.Signal) error { return e.cmd.Process.Signal(sig) }

func (e *local) Wait() (int, error) {
	err := e.cmd.Wait()
	if st, ok := e.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		return 128 + int(st.Signal()), nil
	}
	if _, ok := err.(*exec.ExitError); ok {
		err = nil
	}
	return e.cmd.ProcessState.ExitCode(), err
}

func (e *local) Close() error {
	e.once.Do(func() {
		_ = e.cmd.Process.Kill()
		e.onClose()
	})
	return nil
}
