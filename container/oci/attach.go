//go:build linux

package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux/stdio"
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

// Attach implements container.Runtime. The Exec it returns is a *stdio.Exec.
func (r *Runtime) Attach(_ context.Context, id string) (container.Exec, error) {
	b, err := r.running(id)
	if err != nil {
		return nil, err
	}
	c := &connection{attachment: newAttachment(), r: r, b: b}
	files, err := c.open()
	if err != nil {
		files.Close()
		return nil, fmt.Errorf("attach to container %s: %w", id, err)
	}
	b.out.attach(c.attachment)
	return stdio.NewExec(files, c), nil
}

// connection is an attachment to a container's own process.
type connection struct {
	*attachment
	r *Runtime
	b *box
}

// open makes the streams: pipes that get what the attachment does.
func (c *connection) open() (files stdio.Files, err error) {
	terminal := c.b.Spec.OCI.Process.Terminal
	if files.Stdout, err = pump(c.stdout); err != nil {
		return files, err
	}
	if !terminal {
		if files.Stderr, err = pump(c.stderr); err != nil {
			return files, err
		}
	}
	switch {
	case terminal && c.b.master != nil:
		files.Terminal, err = duplicate(c.b.master)
	case c.b.Spec.Stdin && c.b.stdin != nil:
		files.Stdin, err = duplicate(c.b.stdin)
	}
	return files, err
}

// pump returns a pipe that gets what is read from b.
func pump(b *buffer) (*os.File, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	go func() {
		defer writer.Close()
		_, _ = io.Copy(writer, b) // until the reader is gone or the container ended
		b.end(io.EOF)
	}()
	return reader, nil
}

func duplicate(f *os.File) (*os.File, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	copied, derr := -1, error(nil)
	if err := conn.Control(func(fd uintptr) { copied, derr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if derr != nil {
		return nil, fmt.Errorf("duplicate descriptor: %w", derr)
	}
	return os.NewFile(uintptr(copied), f.Name()), nil
}

// Signal implements stdio.Control, as the rest.
func (c *connection) Signal(sig syscall.Signal) error {
	return c.r.Signal(context.Background(), c.b.Status.ID, sig)
}

func (c *connection) Wait() (int, error) {
	<-c.b.ended
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	return c.b.Status.ExitCode, nil
}

// CloseStdin ends the container's standard input for good: it has no other writer then than those attached.
func (c *connection) CloseStdin() error {
	if c.b.stdin == nil {
		return nil
	}
	return ignore(c.b.stdin.Close(), os.ErrClosed)
}

func (c *connection) Close() error {
	c.b.out.detach(c.attachment)
	return nil
}
