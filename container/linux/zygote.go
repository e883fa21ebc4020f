//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container/linux/initproc"
)

// zygote is the process that clones this runtime's children. It is started at the first need, and again when it died.
type zygote struct {
	mu   sync.Mutex
	self *selfImage
	proc *os.Process
	sock int // -1: not running
}

// child is a process of ours that takes programs on ctl.
type child struct {
	pid   int // on the node
	pidfd int
	ctl   int
}

// close gives up control of the child; one that still waits for a program ends by it.
func (c *child) close() {
	if c.ctl >= 0 {
		unix.Close(c.ctl)
		c.ctl = -1
	}
	if c.pidfd >= 0 {
		unix.Close(c.pidfd)
		c.pidfd = -1
	}
}

// reap kills and waits for a child that is not needed.
func (c *child) reap() {
	unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
	waitPidfd(c.pidfd)
	c.close()
}

// spawn clones a child with the namespaces in flags.
func (z *zygote) spawn(flags uint64) (*child, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for attempt := 0; ; attempt++ {
		if z.sock < 0 {
			if err := z.start(); err != nil {
				return nil, err
			}
		}
		c, err := z.request(flags)
		if err == nil || attempt > 0 || !errors.Is(err, errZygoteGone) {
			return c, err
		}
		z.stop()
	}
}

var errZygoteGone = errors.New("zygote is gone")

func (z *zygote) request(flags uint64) (*child, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	defer unix.Close(pair[1])
	req := initproc.Request{Flags: flags}
	msg := unsafe.Slice((*byte)(unsafe.Pointer(&req)), unsafe.Sizeof(req))
	if err := unix.Sendmsg(z.sock, msg, unix.UnixRights(pair[1]), nil, unix.MSG_NOSIGNAL); err != nil {
		unix.Close(pair[0])
		return nil, errors.Join(errZygoteGone, err)
	}
	var resp initproc.Response
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&resp)), unsafe.Sizeof(resp))
	n, err := ignoreEINTR(func() (int, error) { return unix.Read(z.sock, buf) })
	if err != nil || n != len(buf) {
		unix.Close(pair[0])
		return nil, errors.Join(errZygoteGone, err)
	}
	if resp.Errno != 0 {
		unix.Close(pair[0])
		return nil, os.NewSyscallError("clone", syscall.Errno(resp.Errno))
	}
	pidfd, err := unix.PidfdOpen(int(resp.PID), 0)
	if err != nil {
		unix.Close(pair[0])
		return nil, fmt.Errorf("open process %d: %w", resp.PID, err)
	}
	return &child{pid: int(resp.PID), pidfd: pidfd, ctl: pair[0]}, nil
}

func (z *zygote) start() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make zygote socket: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "zygote")
	defer theirs.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		unix.Close(pair[0])
		return err
	}
	defer null.Close()
	proc, err := os.StartProcess(z.self.path(), []string{initproc.Name}, &os.ProcAttr{
		Dir: "/",
		// One thread less to clone around, and no signals that the terminal sends to us.
		Env:   []string{"GOMAXPROCS=1"},
		Files: []*os.File{null, null, null, theirs},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		unix.Close(pair[0])
		return fmt.Errorf("start zygote: %w", err)
	}
	z.sock, z.proc = pair[0], proc
	return nil
}

// stop ends the zygote; its children live on.
func (z *zygote) stop() {
	if z.sock < 0 {
		return
	}
	unix.Close(z.sock)
	z.sock = -1
	z.proc.Wait()
}

// close ends the zygote for good.
func (z *zygote) close() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.stop()
	z.self.close()
}
