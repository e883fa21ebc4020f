//go:build linux

package oci

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// console is the socket on which the program hands over the master side of a terminal.
type console struct {
	path     string
	dir      *os.File
	name     string
	listener *net.UnixListener
}

// listenConsole makes the socket. Its path leads through a descriptor, since the length of one is limited.
func (r *Runtime) listenConsole() (*console, error) {
	dir, err := os.MkdirTemp(r.path("run"), ".console-")
	if err != nil {
		return nil, fmt.Errorf("make console socket: %w", err)
	}
	c := &console{name: dir}
	if c.dir, err = os.Open(dir); err == nil {
		c.path = fmt.Sprintf("/proc/%d/fd/%d/s", os.Getpid(), c.dir.Fd())
		c.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: c.path, Net: "unix"})
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("make console socket: %w", err)
	}
	return c, nil
}

// accept returns the terminal. The program sent it before it ended.
func (c *console) accept() (*os.File, error) {
	if err := c.listener.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	conn, err := c.listener.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	defer conn.Close()
	data, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(data, oob)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive terminal: %d control messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive terminal: %d files: %w", len(fds), err)
	}
	unix.CloseOnExec(fds[0])
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

func (c *console) close() {
	if c.listener != nil {
		c.listener.Close()
	}
	if c.dir != nil {
		c.dir.Close()
	}
	os.RemoveAll(filepath.Clean(c.name)) // an empty directory may stay behind at worst
}

// bounded reports whether this process may have the capability of a number.
func bounded(n int) bool {
	ok, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0)
	return err == nil && ok == 1
}
