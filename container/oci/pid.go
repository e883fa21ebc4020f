//go:build linux

package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// procStat is what /proc/<pid>/stat tells of a process.
type procStat struct {
	state     byte
	startTime uint64
	exit      int // wait status, of a zombie
}

func readStat(pid int) (procStat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	_, rest, ok := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	fields := strings.Fields(rest)
	const first, start, exit = 3, 22, 52 // proc_pid_stat(5)
	if !ok || len(fields) <= exit-first {
		return procStat{}, fmt.Errorf("parse stat of process %d: %q", pid, text)
	}
	s := procStat{state: fields[0][0]}
	if s.startTime, err = strconv.ParseUint(fields[start-first], 10, 64); err != nil {
		return procStat{}, fmt.Errorf("parse stat of process %d: %w", pid, err)
	}
	if s.exit, err = strconv.Atoi(fields[exit-first]); err != nil {
		return procStat{}, fmt.Errorf("parse stat of process %d: %w", pid, err)
	}
	return s, nil
}

// openPID returns a pidfd, that the poller can wait for, of the process pid that began at startTime (0: any). It is nil
// when that process is no more.
func openPID(pid int, startTime uint64) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	if s, err := readStat(pid); err != nil || startTime != 0 && s.startTime != startTime {
		f.Close()
		return nil, nil
	}
	return f, nil
}

// unknownExit is the exit code of a process whose real one nobody kept.
const unknownExit = 255

// waitPID waits for the end of the process and returns its exit code. It fails when f is closed. The code is known of
// our own children, of zombies, and since Linux 6.15 of all.
func waitPID(f *os.File, pid int, startTime uint64) (int, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	code, over := unknownExit, false
	err = conn.Read(func(fd uintptr) bool {
		code, over = reap(int(fd), pid, startTime)
		return over
	})
	if err != nil {
		return 0, err
	}
	return code, nil
}

// reap returns the exit code if the process ended.
func reap(fd, pid int, startTime uint64) (code int, over bool) {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PIDFD, fd, &info, unix.WEXITED|unix.WNOHANG, nil)
	if err == nil && info.Signo != 0 {
		return exitOf(&info), true
	}
	if err == nil || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return 0, false
	}
	// Another's child.
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); err == nil && n == 0 {
		return 0, false
	}
	if s, err := readStat(pid); err == nil && s.state == 'Z' && s.startTime == startTime {
		return codeOf(syscall.WaitStatus(s.exit)), true
	}
	if status, ok := pidfdExit(fd); ok {
		return codeOf(status), true
	}
	return unknownExit, true
}

// exitOf reads the union of siginfo_t for SIGCHLD: pid, uid, status.
func exitOf(info *unix.Siginfo) int {
	type child struct {
		signo, errno, code, _ int32
		pid                   int32
		uid                   uint32
		status                int32
	}
	c := (*child)(unsafe.Pointer(info))
	const exited = 1 // CLD_EXITED
	if c.code == exited {
		return int(c.status)
	}
	return 128 + int(c.status)
}

func codeOf(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// pidfdExit asks for the wait status of a process that was reaped.
func pidfdExit(fd int) (syscall.WaitStatus, bool) {
	// struct pidfd_info of <linux/pidfd.h>, first version.
	var info struct {
		mask, cgroup                                                      uint64
		pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid uint32
		exit                                                              int32
	}
	const (
		getInfo  = 0xc000ff0b | unsafe.Sizeof(info)<<16 // PIDFD_GET_INFO
		infoExit = 1 << 3                               // PIDFD_INFO_EXIT
	)
	info.mask = infoExit
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getInfo, uintptr(unsafe.Pointer(&info)))
	return syscall.WaitStatus(info.exit), errno == 0 && info.mask&infoExit != 0
}

// sendSignal sends sig to the process of a pidfd.
func sendSignal(f *os.File, sig syscall.Signal) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := conn.Control(func(fd uintptr) { serr = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return holdfast.Errorf(holdfast.ErrNotFound, "the process ended")
	}
	if errors.Is(serr, unix.ESRCH) {
		return holdfast.Errorf(holdfast.ErrNotFound, "the process ended")
	}
	return serr
}
