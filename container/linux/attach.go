//go:build linux

package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux/stdio"
)

// Attach connects to a running container's streams. It implements container.Runtime; the Exec it returns is a
// *stdio.Exec.
func (r *Runtime) Attach(ctx context.Context, id string) (container.Exec, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := r.running(id)
	if err != nil {
		return nil, err
	}
	files, err := c.io.attach()
	if err != nil {
		files.Close()
		return nil, fmt.Errorf("attach to container %s: %w", id, err)
	}
	return stdio.NewExec(files, &attached{r: r, c: c}), nil
}

func (s *streams) attach() (files stdio.Files, err error) {
	if files.Stdout, err = s.out.Attach(); err != nil {
		return files, err
	}
	if s.err != nil {
		if files.Stderr, err = s.err.Attach(); err != nil {
			return files, err
		}
	}
	if files.Terminal, err = copyFile(s.tty); err != nil {
		return files, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	files.Stdin, err = copyFile(s.stdin)
	return files, err
}

// copyFile returns another descriptor of f; nil for nil.
func copyFile(f *os.File) (*os.File, error) {
	if f == nil {
		return nil, nil
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	if cerr := raw.Control(func(p uintptr) { fd, err = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, fmt.Errorf("copy descriptor: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// attached is a connection to a container's first process.
type attached struct {
	r *Runtime
	c *ctr
}

// Signal implements stdio.Control.
func (a *attached) Signal(sig syscall.Signal) error {
	return a.r.Signal(context.Background(), a.c.id, sig)
}

// Wait implements stdio.Control.
func (a *attached) Wait() (int, error) {
	<-a.c.done
	return a.c.status().ExitCode, nil
}

// CloseStdin implements stdio.Control: the container reads to the end of what was written.
func (a *attached) CloseStdin() error {
	var slot int
	err := a.c.save(a.r, false, func(rec *record) { slot, rec.Slots.Stdin = rec.Slots.Stdin, 0 })
	return errors.Join(err, a.c.io.closeStdin(), a.r.vault.drop(slot))
}

// Close implements stdio.Control.
func (a *attached) Close() error { return nil }
