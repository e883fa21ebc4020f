//go:build linux

package initproc

import (
	"syscall"
	"unsafe"
)

// initFork goes on as the child in a new process; the caller becomes the container's PID 1 and never returns.
//
//go:nosplit
//go:norace
//go:nocheckptr
func initFork() syscall.Errno {
	sigset = ^uint64(0)
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigBlock, uintptr(unsafe.Pointer(&sigset)), 0, 8, 0, 0)
	// Not clone3: filters refuse it, since they cannot look at its flags.
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid == 0 {
		return errno
	}
	forked = pid
	syscall.RawSyscall(sysCloseRange, 0, ^uintptr(0)>>32, 0)
	for {
		reapAndForward()
	}
}

const sigBlock = 0 // SIG_BLOCK

// reapAndForward waits for one signal (sigset, all of them, is blocked) and handles it.
//
//go:nosplit
//go:norace
//go:nocheckptr
func reapAndForward() {
	sig, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&sigset)),
		uintptr(unsafe.Pointer(&siginfo)), 0, 8, 0, 0)
	if errno == syscall.EINTR {
		return
	}
	if errno != 0 {
		exit(125) // the container's own filter forbids it: an init that cannot wait would spin
	}
	if sig != uintptr(syscall.SIGCHLD) {
		syscall.RawSyscall(syscall.SYS_KILL, forked, sig, 0)
		return
	}
	for {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)),
			syscall.WNOHANG, 0, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 || pid == 0 {
			return
		}
		if pid == forked {
			exit(exitCode(status))
		}
	}
}

// exitCode is what a shell would call the status: 128+signal for a killed process.
//
//go:nosplit
//go:norace
func exitCode(status int32) uintptr {
	if sig := status & 0x7f; sig != 0 {
		return uintptr(128 + sig)
	}
	return uintptr(status >> 8 & 0xff)
}
