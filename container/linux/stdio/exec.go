package stdio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"github.com/holdfast/holdfast/container"
)

// Files are the near ends of a process's streams. Any may be nil.
type Files struct {
	Stdin, Stdout, Stderr *os.File
	// Terminal is its master; input goes there too. Stdout, when not nil, is a copy of what the terminal shows.
	Terminal *os.File
}

// Close closes all.
func (f Files) Close() {
	for _, file := range []*os.File{f.Stdin, f.Stdout, f.Stderr, f.Terminal} {
		if file != nil {
			file.Close()
		}
	}
}

// Control is a process whose streams Files are.
type Control interface {
	Signal(sig syscall.Signal) error
	Wait() (int, error)
	CloseStdin() error // so that the process sees its end
	Close() error      // as container.Exec
}

// Exec is a container.Exec over files.
type Exec struct {
	files   Files
	control Control
	once    sync.Once
	err     error
}

var _ container.Exec = (*Exec)(nil)

// NewExec returns the container.Exec that files and control make up.
func NewExec(files Files, control Control) *Exec { return &Exec{files: files, control: control} }

// Files returns the streams.
func (e *Exec) Files() Files { return e.files }

// Control returns the process.
func (e *Exec) Control() Control { return e.control }

// Stdin implements container.Exec.
func (e *Exec) Stdin() io.WriteCloser {
	switch {
	case e.files.Stdin != nil:
		return input{e.files.Stdin, e.control}
	case e.files.Terminal != nil:
		return input{e.files.Terminal, nil}
	}
	return nil
}

// input is standard input. A terminal is not closed by closing it.
type input struct {
	file    *os.File
	control Control
}

func (i input) Write(p []byte) (int, error) { return i.file.Write(p) }

func (i input) Close() error {
	if i.control == nil {
		return nil
	}
	return errors.Join(i.file.Close(), i.control.CloseStdin())
}

// Stdout implements container.Exec.
func (e *Exec) Stdout() io.Reader {
	switch {
	case e.files.Stdout != nil:
		return e.files.Stdout
	case e.files.Terminal != nil:
		return terminal{e.files.Terminal}
	}
	return eof{}
}

// Stderr implements container.Exec.
func (e *Exec) Stderr() io.Reader {
	if e.files.Stderr != nil {
		return e.files.Stderr
	}
	return nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// terminal reads a master: EIO says that nobody has the other end any more.
type terminal struct{ file *os.File }

func (t terminal) Read(p []byte) (int, error) {
	n, err := t.file.Read(p)
	if errors.Is(err, syscall.EIO) {
		err = io.EOF
	}
	return n, err
}

// Resize implements container.Exec.
func (e *Exec) Resize(rows, cols uint16) error {
	if e.files.Terminal == nil {
		return errors.New("resize terminal: the process has none")
	}
	raw, err := e.files.Terminal.SyscallConn()
	if err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	size := struct{ row, col, x, y uint16 }{row: rows, col: cols}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCSWINSZ, uintptr(unsafe.Pointer(&size)))
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

// Signal implements container.Exec.
func (e *Exec) Signal(sig syscall.Signal) error { return e.control.Signal(sig) }

// Wait implements container.Exec. What the process wrote can still be read after it.
func (e *Exec) Wait() (int, error) { return e.control.Wait() }

// Close implements container.Exec. It may be called more than once.
func (e *Exec) Close() error {
	e.once.Do(func() {
		e.err = e.control.Close()
		e.files.Close()
	})
	return e.err
}
