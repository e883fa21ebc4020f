//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container/linux/initproc"
)

// zygote is the process that clones this runtime's children. It is started at the first need, and again when it died.
type zygote struct {
	family family

	mu   sync.Mutex
	self *selfImage
	proc *os.Process
	sock int // -1: not running
}

// child is a process of ours that takes programs on ctl.
type child struct {
	family *family

	pid   int // on the node
	pidfd int
	ctl   int
}

// open makes a newborn one of the family.
func (c *child) open() (err error) {
	if c.pidfd, err = unix.PidfdOpen(c.pid, 0); err != nil {
		c.pidfd = -1
		c.close()
		return fmt.Errorf("open process %d: %w", c.pid, err)
	}
	c.family.add(c.pid)
	return nil
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
	_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0) // ESRCH: it is dead
	c.wait()
}

// wait waits for the child's end.
func (c *child) wait() int {
	code, ok := waitPidfd(c.pidfd)
	if !ok { // the child of a runtime that died
		code = unknownExit
	}
	c.family.remove(c.pid)
	c.close()
	return code
}

// spawn clones a child with the namespaces in flags. If address is not "", the child listens there, so that another
// runtime can take it over; else it ends with this process.
func (z *zygote) spawn(flags uint64, address string) (*child, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.family.births.RLock()
	defer z.family.births.RUnlock()
	for attempt := 0; ; attempt++ {
		if z.sock < 0 {
			if err := z.start(); err != nil {
				return nil, err
			}
		}
		c, err := z.request(flags, address)
		if err == nil || attempt > 0 || !errors.Is(err, errZygoteGone) {
			return c, err
		}
		z.stop()
	}
}

var errZygoteGone = errors.New("zygote is gone")

func (z *zygote) request(flags uint64, address string) (*child, error) {
	ours, theirs, err := controlSocket(address)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	defer unix.Close(theirs)
	resp, err := z.ask(initproc.Request{Flags: flags}, theirs)
	if err != nil {
		unix.Close(ours)
		if address != "" {
			err = errors.Join(err, os.Remove(address))
		}
		return nil, err
	}
	c := &child{family: &z.family, pid: int(resp.PID), ctl: ours}
	return c, c.open()
}

func (z *zygote) ask(req initproc.Request, socket int) (resp initproc.Response, err error) {
	msg := unsafe.Slice((*byte)(unsafe.Pointer(&req)), unsafe.Sizeof(req))
	if err := unix.Sendmsg(z.sock, msg, unix.UnixRights(socket), nil, unix.MSG_NOSIGNAL); err != nil {
		return resp, errors.Join(errZygoteGone, err)
	}
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&resp)), unsafe.Sizeof(resp))
	n, err := ignoreEINTR(func() (int, error) { return unix.Read(z.sock, buf) })
	if err != nil || n != len(buf) {
		return resp, errors.Join(errZygoteGone, err)
	}
	if resp.Errno != 0 {
		return resp, os.NewSyscallError("clone", syscall.Errno(resp.Errno))
	}
	return resp, nil
}

// controlSocket returns both ends of a connection, theirs listening at address if that is not "".
func controlSocket(address string) (ours, theirs int, err error) {
	const kind = unix.SOCK_SEQPACKET | unix.SOCK_CLOEXEC
	if address == "" {
		pair, err := unix.Socketpair(unix.AF_UNIX, kind, 0)
		return pair[0], pair[1], err
	}
	theirs, err = unix.Socket(unix.AF_UNIX, kind, 0)
	if err != nil {
		return -1, -1, err
	}
	err = atAddress(address, func(short string) error {
		if err := unix.Bind(theirs, &unix.SockaddrUnix{Name: short}); err != nil {
			return err
		}
		return unix.Listen(theirs, 1)
	})
	if err == nil {
		ours, err = connectControl(address)
	}
	if err != nil {
		unix.Close(theirs)
		return -1, -1, err
	}
	return ours, theirs, nil
}

// connectControl connects to the child that listens at address.
func connectControl(address string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = atAddress(address, func(short string) error { return unix.Connect(fd, &unix.SockaddrUnix{Name: short}) })
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// atAddress calls use with a name for the socket address that is short enough for the kernel.
func atAddress(address string, use func(string) error) error {
	dir, err := unix.Open(filepath.Dir(address), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return use(filepath.Join(fdPath(dir), filepath.Base(address)))
}

func (z *zygote) start() error {
	if z.self.replaced() {
		copied, err := memfdSelf()
		if err != nil {
			return err
		}
		z.self.close()
		z.self = copied
	}
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
	z.family.add(proc.Pid)
	// Containers do not inherit the protection that the supervisor has.
	if err := writeFile("/proc/"+strconv.Itoa(proc.Pid)+"/oom_score_adj", "0"); err != nil {
		z.stop()
		return fmt.Errorf("reset OOM score of zygote: %w", err)
	}
	return nil
}

// stop ends the zygote; its children live on.
func (z *zygote) stop() {
	if z.sock < 0 {
		return
	}
	unix.Close(z.sock)
	z.sock = -1
	_, _ = z.proc.Wait() // how it ended means nothing
	z.family.remove(z.proc.Pid)
}

// close ends the zygote for good.
func (z *zygote) close() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.stop()
	z.self.close()
}
