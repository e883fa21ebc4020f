//go:build linux

package linux

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tryWait returns the exit code of the process, ours or not, once it ended.
func tryWait(pidfd, pid int, startTime uint64) (code int, done bool) {
	var info siginfo
	err := unix.Waitid(unix.P_PIDFD, pidfd, info.raw(), unix.WEXITED|unix.WNOHANG, nil)
	switch {
	case err == nil && info.pid != 0:
		return info.exitCode(), true
	case err == nil || err == unix.EINTR:
		return 0, false
	case !exited(pidfd):
		return 0, false
	}
	if code, ok := zombieExit(pid, startTime); ok {
		return code, true
	}
	if code, ok := pidfdExit(pidfd); ok {
		return code, true
	}
	return unknownExit, true
}

// exited tells whether the process behind pidfd is a zombie or gone.
func exited(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := ignoreEINTR(func() (int, error) { return unix.Poll(fds, 0) })
	return err == nil && n > 0
}

// waitStatus converts the status of wait(2).
func waitStatus(status int) int {
	if sig := status & 0x7f; sig != 0 {
		return 128 + sig
	}
	return status >> 8 & 0xff
}

// zombieExit reads the exit code of a zombie that another process has to reap.
func zombieExit(pid int, startTime uint64) (int, bool) {
	f, err := statFields(pid)
	if err != nil || f.state != "Z" || f.startTime != startTime {
		return 0, false
	}
	return waitStatus(f.exitCode), true
}

// pidfdExit asks the kernel, from 6.15 on, for the exit code of a process that was reaped by another.
func pidfdExit(pidfd int) (int, bool) {
	const (
		pidfdInfoExit = 1 << 3
		pidfdGetInfo  = 0xC0<<24 | 0xFF<<8 | 11 // _IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info); the size is added
	)
	var info struct {
		mask, cgroup                                     uint64
		pid, tgid, ppid                                  uint32
		ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid uint32
		exitCode                                         int32
		coredump, coredumpSignal                         uint32
		supported                                        uint64
	}
	info.mask = pidfdInfoExit
	size := uintptr(72) // as it was in Linux 6.15: all that is read here
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo|size<<16, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.mask&pidfdInfoExit == 0 {
		return 0, false
	}
	return waitStatus(int(info.exitCode)), true
}

type procStat struct {
	state     string
	startTime uint64 // ticks since boot: with the pid it names a process for ever
	exitCode  int
}

func statFields(pid int) (procStat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	_, after, ok := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), ") ")
	f := strings.Fields(after)
	if !ok || len(f) < 50 {
		return procStat{}, fmt.Errorf("read stat of process %d: %q", pid, text)
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("read stat of process %d: %w", pid, err)
	}
	code, err := strconv.Atoi(f[49])
	if err != nil {
		return procStat{}, fmt.Errorf("read stat of process %d: %w", pid, err)
	}
	return procStat{state: f[0], startTime: start, exitCode: code}, nil
}

func processStartTime(pid int) (uint64, error) {
	f, err := statFields(pid)
	return f.startTime, err
}
