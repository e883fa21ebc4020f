//go:build linux

package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// attachment is one reader of a container's output.
type attachment struct {
	stdout, stderr *buffer
}

func newAttachment() *attachment { return &attachment{newBuffer(), newBuffer()} }

func (a *attachment) put(name string, p []byte) {
	if name == streamNames[0] {
		a.stdout.write(p)
	} else {
		a.stderr.write(p)
	}
}

func (a *attachment) end() {
	a.stdout.end(io.EOF)
	a.stderr.end(io.EOF)
}

// buffer is a pipe whose writer never waits. A reader that is too slow loses the connection, not the container its time.
type buffer struct {
	mu   sync.Mutex
	more sync.Cond
	data bytes.Buffer
	err  error // what the reader gets after the data
}

const maxBehind = 8 << 20

var errBehind = errors.New("the reader is too far behind")

func newBuffer() *buffer {
	b := &buffer{}
	b.more.L = &b.mu
	return b
}

func (b *buffer) write(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	if b.data.Len()+len(p) > maxBehind {
		b.err = errBehind
	} else {
		b.data.Write(p)
	}
	b.more.Broadcast()
}

func (b *buffer) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.more.Broadcast()
}

// Read implements io.Reader.
func (b *buffer) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.data.Len() == 0 && b.err == nil {
		b.more.Wait()
	}
	if b.data.Len() == 0 {
		return 0, b.err
	}
	return b.data.Read(p)
}

// Attach implements container.Runtime.
func (r *Runtime) Attach(_ context.Context, id string) (container.Exec, error) {
	b, err := r.running(id)
	if err != nil {
		return nil, err
	}
	c := &connection{attachment: newAttachment(), r: r, b: b}
	b.out.attach(c.attachment)
	return c, nil
}

// connection is an attachment to a container's own process.
type connection struct {
	*attachment
	r *Runtime
	b *box
}

func (c *connection) tty() bool { return c.b.Spec.OCI.Process.Terminal }

func (c *connection) Stdin() io.WriteCloser {
	switch {
	case !c.b.Spec.Stdin:
		return nil
	case c.b.master != nil:
		return keepOpen{c.b.master}
	case c.b.stdin != nil:
		return c.b.stdin
	}
	return nil
}

// keepOpen is a terminal: its end is for the program in it to decide.
type keepOpen struct{ *os.File }

func (keepOpen) Close() error { return nil }

func (c *connection) Stdout() io.Reader { return c.stdout }

func (c *connection) Stderr() io.Reader {
	if c.tty() {
		return nil
	}
	return c.stderr
}

func (c *connection) Resize(rows, cols uint16) error { return resize(c.b.master, rows, cols) }

func resize(master *os.File, rows, cols uint16) error {
	if master == nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "resize: there is no terminal")
	}
	conn, err := master.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = conn.Control(func(fd uintptr) {
		serr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	return errors.Join(err, serr)
}

func (c *connection) Signal(sig syscall.Signal) error {
	return c.r.Signal(context.Background(), c.b.Status.ID, sig)
}

func (c *connection) Wait() (int, error) {
	<-c.b.ended
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	return c.b.Status.ExitCode, nil
}

func (c *connection) Close() error {
	c.b.out.detach(c.attachment)
	return nil
}
