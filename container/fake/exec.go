package fake

import (
	"context"
	"io"
	"sync"
	"syscall"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// Exec implements container.Runtime.
func (r *Runtime) Exec(ctx context.Context, id string, spec container.ExecSpec) (container.Exec, error) {
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	defer r.m.mu.Unlock()
	b, err := r.m.running(id)
	if err != nil {
		return nil, err
	}
	if b.status.Phase == container.Paused {
		return nil, holdfast.Errorf(holdfast.ErrConflict, "exec in %s: it is paused", id)
	}
	if len(spec.Args) == 0 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "exec in %s: no command", id)
	}
	e := &process{
		attached: newAttached(), tty: spec.TTY, signals: make(chan syscall.Signal, 64),
		killed: make(chan struct{}), done: make(chan struct{}),
	}
	e.input, e.stdin = io.Pipe()
	go e.run(b, spec)
	return e, nil
}

// process is an exec'd process.
type process struct {
	*attached
	tty     bool
	input   *io.PipeReader
	stdin   *io.PipeWriter
	signals chan syscall.Signal
	killed  chan struct{}
	done    chan struct{}
	once    sync.Once
	code    int // once done is closed
}

type sink struct{ b *buffer }

// Write implements io.Writer.
func (s sink) Write(p []byte) (int, error) {
	s.b.write(p)
	return len(p), nil
}

// run ends when the program does, or at once when it is killed or its container ends.
func (p *process) run(b *box, spec container.ExecSpec) {
	defer close(p.done)
	defer p.input.Close()
	defer p.attached.end()
	if b.behaviour.Exec == nil {
		return
	}
	stderr := p.attached.stderr
	if p.tty {
		stderr = p.attached.stdout
	}
	ended := make(chan int, 1)
	go func() {
		ended <- b.behaviour.Exec(spec, Process{
			Spec: b.spec, Stdin: p.input, Stdout: sink{p.attached.stdout}, Stderr: sink{stderr}, Signals: p.signals, Killed: p.killed,
		})
	}()
	select {
	case p.code = <-ended:
	case <-p.killed:
		p.code = 128 + int(syscall.SIGKILL)
	case <-b.ended:
		p.code = 128 + int(syscall.SIGKILL)
	}
}

func (p *process) Stdin() io.WriteCloser { return p.stdin }
func (p *process) Stdout() io.Reader     { return p.attached.stdout }

func (p *process) Stderr() io.Reader {
	if p.tty {
		return nil
	}
	return p.attached.stderr
}

func (p *process) Resize(rows, cols uint16) error { return nil }

func (p *process) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return holdfast.Errorf(holdfast.ErrNotFound, "the process ended")
	default:
	}
	if sig == syscall.SIGKILL {
		p.once.Do(func() { close(p.killed) })
		return nil
	}
	select {
	case p.signals <- sig:
	default:
	}
	return nil
}

func (p *process) Wait() (int, error) {
	<-p.done
	return p.code, nil
}

func (p *process) Close() error {
	p.once.Do(func() { close(p.killed) })
	<-p.done
	return nil
}

// Attach implements container.Runtime.
func (r *Runtime) Attach(ctx context.Context, id string) (container.Exec, error) {
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	defer r.m.mu.Unlock()
	b, err := r.m.running(id)
	if err != nil {
		return nil, err
	}
	c := &connection{attached: newAttached(), r: r, b: b}
	b.output.attach(c.attached)
	return c, nil
}

// connection is an attachment to a container's own process.
type connection struct {
	*attached
	r *Runtime
	b *box
}

func (c *connection) Stdin() io.WriteCloser {
	if !c.b.spec.Stdin {
		return nil
	}
	return c.b.stdin
}

func (c *connection) Stdout() io.Reader { return c.attached.stdout }

func (c *connection) Stderr() io.Reader {
	if c.b.spec.OCI.Process.Terminal {
		return nil
	}
	return c.attached.stderr
}

func (c *connection) Resize(rows, cols uint16) error { return nil }

func (c *connection) Signal(sig syscall.Signal) error {
	return c.r.Signal(context.Background(), c.b.spec.ID, sig)
}

func (c *connection) Wait() (int, error) {
	<-c.b.ended
	c.r.m.mu.Lock()
	defer c.r.m.mu.Unlock()
	return c.b.status.ExitCode, nil
}

func (c *connection) Close() error {
	c.b.output.detach(c.attached)
	return nil
}
