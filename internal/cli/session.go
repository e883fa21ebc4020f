package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/term"

	"github.com/holdfast/holdfast/container"
)

// session joins the program's streams with a process behind the API.
type session struct {
	stdin       bool // send standard input
	tty         bool // the process has a terminal, and ours is to be one too
	closeStdin  bool // tell the process of the end of our input
	detachable  bool // ctrl-p ctrl-q leaves, and so does the end of the context
	passSignals bool
}

// errDetached says that the user left the process running.
var errDetached = errors.New("detached")

// run returns an error that carries the process's exit code, unless it is 0; errDetached when the user left.
func (s session) run(ctx context.Context, a *app, p container.Exec) error {
	defer p.Close()
	if s.tty {
		restore, err := rawTerminal(a.Stdin)
		if err != nil {
			return err
		}
		defer restore()
		defer followSize(a.Stdout, p)()
	}
	if s.passSignals {
		defer forwardSignals(p)()
	}
	var left atomic.Bool
	leave := func() { left.Store(true); _ = p.Close() }
	if s.stdin {
		go s.send(a.Stdin, p, leave)
	}
	if s.detachable {
		defer context.AfterFunc(ctx, leave)()
	}
	receive(a, p)
	code, err := p.Wait()
	if left.Load() {
		return errDetached
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}

// receive copies the process's output until it ends.
func receive(a *app, p container.Exec) {
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(a.Stdout, p.Stdout()) })
	if e := p.Stderr(); e != nil {
		wg.Go(func() { _, _ = io.Copy(a.Stderr, e) })
	}
	wg.Wait()
}

// send copies our input to the process.
func (s session) send(r io.Reader, p container.Exec, detach func()) {
	var w io.Writer = p.Stdin()
	if s.detachable && s.tty {
		w = &detachWriter{w: w, detach: detach}
	}
	_, err := io.Copy(w, r)
	if err == nil && s.closeStdin {
		_ = p.Stdin().Close()
	}
}

// detachWriter passes on what is written but for ctrl-p ctrl-q, upon which it calls detach. A ctrl-p is held back
// until what follows it is known.
type detachWriter struct {
	w      io.Writer
	held   bool
	detach func()
}

const ctrlP, ctrlQ = 0x10, 0x11

func (d *detachWriter) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+1)
	for _, c := range p {
		if d.held && c == ctrlQ {
			d.detach()
			return 0, errDetached
		}
		if d.held {
			out = append(out, ctrlP)
		}
		if d.held = c == ctrlP; !d.held {
			out = append(out, c)
		}
	}
	if len(out) > 0 {
		if _, err := d.w.Write(out); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// rawTerminal hands each key to the process as it is typed, until restore is called.
func rawTerminal(stdin io.Reader) (restore func(), err error) {
	f, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}, nil
	}
	old, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(int(f.Fd()), old) }, nil
}

// terminalSize is the size of our terminal, or 0, 0.
func terminalSize(stdout io.Writer) (rows, cols uint16) {
	f, ok := stdout.(*os.File)
	if !ok {
		return 0, 0
	}
	w, h, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return uint16(h), uint16(w)
}

// followSize makes the process's terminal the size of ours, each time that it changes, until stop is called.
func followSize(stdout io.Writer, p container.Exec) (stop func()) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	go func() {
		for range changes {
			if rows, cols := terminalSize(stdout); rows > 0 {
				_ = p.Resize(rows, cols)
			}
		}
	}()
	return func() { signal.Stop(changes); close(changes) }
}

// forwardSignals passes on what is sent to us, until stop is called.
func forwardSignals(p container.Exec) (stop func()) {
	sent := make(chan os.Signal, 8)
	signal.Notify(sent, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		for sig := range sent {
			if n, ok := sig.(syscall.Signal); ok {
				_ = p.Signal(n)
			}
		}
	}()
	return func() { signal.Stop(sent); close(sent) }
}
