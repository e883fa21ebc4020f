package fake

import (
	"context"
	"io"
	"syscall"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// Start implements container.Runtime.
func (r *Runtime) Start(ctx context.Context, spec container.Spec) (container.Status, error) {
	if err := r.lock(ctx); err != nil {
		return container.Status{}, err
	}
	sandbox, err := r.m.takeLocked(spec)
	r.m.starts++
	var behave Behaviour
	if err == nil && r.m.cfg.Script != nil {
		behave = r.m.cfg.Script(r.m.starts, spec)
	}
	r.m.mu.Unlock()
	if err != nil {
		return container.Status{}, err
	}
	if err := r.m.wait(ctx, behave.Delay); err != nil {
		return container.Status{}, err
	}
	if behave.Err != nil {
		return container.Status{}, behave.Err
	}
	if err := r.lock(ctx); err != nil {
		return container.Status{}, err
	}
	defer r.m.mu.Unlock()
	if r.m.boxes[spec.ID] != nil {
		return container.Status{}, holdfast.Errorf(holdfast.ErrConflict, "container %s exists", spec.ID)
	}
	return r.m.runLocked(sandbox, spec, behave)
}

// takeLocked uses up the spec's sandbox and checks the rest.
func (m *machine) takeLocked(spec container.Spec) (container.Sandbox, error) {
	b := m.boxes[spec.Sandbox]
	if b == nil || b.status.Phase != container.Parked {
		return container.Sandbox{}, holdfast.Errorf(holdfast.ErrNotFound, "sandbox %q is not parked", spec.Sandbox)
	}
	delete(m.boxes, spec.Sandbox)
	switch {
	case spec.ID == "":
		return container.Sandbox{}, holdfast.Errorf(holdfast.ErrInvalid, "container has no ID")
	case m.boxes[spec.ID] != nil:
		return container.Sandbox{}, holdfast.Errorf(holdfast.ErrConflict, "container %s exists", spec.ID)
	case spec.OCI == nil || spec.OCI.Process == nil || len(spec.OCI.Process.Args) == 0:
		return container.Sandbox{}, holdfast.Errorf(holdfast.ErrInvalid, "container %s has no command", spec.ID)
	}
	return b.status.Sandbox, nil
}

// wait returns after d on the machine's clock, or with ctx's error.
func (m *machine) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	done := make(chan struct{})
	stop := m.cfg.AfterFunc(d, func() { close(done) })
	defer stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *machine) runLocked(sandbox container.Sandbox, spec container.Spec, behave Behaviour) (container.Status, error) {
	now := m.cfg.Now()
	output, err := newOutput(m.cfg.Now, spec.Log.Path)
	if err != nil {
		return container.Status{}, err
	}
	b := &box{
		spec: spec, behaviour: behave, readyAt: now.Add(behave.ReadyAfter), output: output,
		signals: make(chan syscall.Signal, 64), killed: make(chan struct{}), ended: make(chan struct{}),
		status: container.Status{
			ID: spec.ID, Phase: container.Running, PID: 100000 + m.starts, Started: now, Sandbox: sandbox, Labels: spec.Labels,
		},
	}
	b.stdinEnd, b.stdin = io.Pipe()
	if !spec.Stdin {
		b.stdin.Close()
	}
	m.boxes[spec.ID] = b
	m.publishLocked(b)
	switch {
	case behave.Program != nil:
		go m.program(b)
	case behave.Exits && behave.OOM:
		m.exitAfterLocked(b, behave.ExitAfter, 128+int(syscall.SIGKILL), true)
	case behave.Exits:
		m.exitAfterLocked(b, behave.ExitAfter, behave.ExitCode, false)
	}
	return b.status, nil
}

// program runs the box's Go function as its process.
func (m *machine) program(b *box) {
	code := b.behaviour.Program(Process{
		Spec: b.spec, Stdin: b.stdinEnd, Stdout: b.output.stream("stdout"), Stderr: b.output.stream("stderr"),
		Signals: b.signals, Killed: b.killed,
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exitLocked(b, code, false)
}

// exitAfterLocked ends b after d; at once when d is 0.
func (m *machine) exitAfterLocked(b *box, d time.Duration, code int, oom bool) {
	if d <= 0 {
		m.exitLocked(b, code, oom)
		return
	}
	b.stops = append(b.stops, m.cfg.AfterFunc(d, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.exitLocked(b, code, oom)
	}))
}

func (m *machine) exitLocked(b *box, code int, oom bool) {
	if b.status.Phase == container.Exited || m.boxes[b.status.ID] != b {
		return
	}
	b.status.Phase, b.status.ExitCode, b.status.OOM, b.status.Finished = container.Exited, code, oom, m.cfg.Now()
	b.release()
	m.publishLocked(b)
}

// release stops all that goes on in b.
func (b *box) release() {
	for _, stop := range b.stops {
		stop()
	}
	b.stops = nil
	if b.ended == nil {
		return // a sandbox
	}
	select {
	case <-b.ended:
		return
	default:
	}
	close(b.ended)
	b.stdinEnd.Close()
	b.output.close()
}

// Signal implements container.Runtime.
func (r *Runtime) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.m.mu.Unlock()
	b, err := r.m.running(id)
	if err != nil {
		return err
	}
	r.m.signalLocked(b, sig)
	return nil
}

func (m *machine) signalLocked(b *box, sig syscall.Signal) {
	switch {
	case sig == syscall.SIGKILL:
		close(b.killed)
		m.exitLocked(b, 128+int(sig), false)
	case b.behaviour.Program != nil:
		select {
		case b.signals <- sig:
		default: // like the kernel's, pending signals are not counted
		}
	case b.behaviour.IgnoreTERM || harmless(sig):
	default:
		m.exitAfterLocked(b, b.behaviour.TermAfter, 128+int(sig), false)
	}
}

// harmless reports whether a process without handlers survives sig.
func harmless(sig syscall.Signal) bool {
	switch sig {
	case 0, syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGURG, syscall.SIGWINCH:
		return true
	}
	return false
}

// Kill implements container.Runtime.
func (r *Runtime) Kill(ctx context.Context, id string) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.m.mu.Unlock()
	b := r.m.boxes[id]
	if b == nil || b.status.Phase == container.Parked {
		return holdfast.Errorf(holdfast.ErrNotFound, "container %s does not exist", id)
	}
	if b.status.Phase != container.Exited {
		r.m.signalLocked(b, syscall.SIGKILL)
	}
	return nil
}

// Remove implements container.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.m.mu.Unlock()
	b := r.m.boxes[id]
	if b == nil {
		return nil
	}
	if b.status.Phase == container.Running || b.status.Phase == container.Paused {
		r.m.signalLocked(b, syscall.SIGKILL)
	}
	delete(r.m.boxes, id)
	return nil
}

// Stats implements container.Runtime.
func (r *Runtime) Stats(ctx context.Context, id string) (container.Stats, error) {
	if err := r.lock(ctx); err != nil {
		return container.Stats{}, err
	}
	defer r.m.mu.Unlock()
	b, err := r.m.running(id)
	if err != nil {
		return container.Stats{}, err
	}
	stats := b.behaviour.Stats
	stats.Time = r.m.cfg.Now()
	return stats, nil
}

// Pause implements container.Runtime.
func (r *Runtime) Pause(ctx context.Context, id string) error {
	return r.phase(ctx, id, container.Paused)
}

// Resume implements container.Runtime.
func (r *Runtime) Resume(ctx context.Context, id string) error {
	return r.phase(ctx, id, container.Running)
}

func (r *Runtime) phase(ctx context.Context, id string, phase container.Phase) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.m.mu.Unlock()
	b, err := r.m.running(id)
	if err != nil {
		return err
	}
	if b.status.Phase != phase {
		b.status.Phase = phase
		r.m.publishLocked(b)
	}
	return nil
}
