//go:build linux

package initproc

import (
	"syscall"
	"unsafe" // also for go:linkname
)

// These are the runtime's own guards around a fork: signals are blocked during it, and the child's handlers are reset. Package syscall uses them the same way.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// clone makes a child that serves programs from the socket ctl and never returns. All in it and below must not grow
// the stack, allocate or take a lock: other threads of this process do not exist in the child.
//
//go:noinline
//go:norace
//go:nocheckptr
func clone(flags uintptr, ctl uintptr) (int, syscall.Errno) {
	cloneArgs.flags = uint64(flags)
	beforeFork()
	pid, _, errno := syscall.RawSyscall(sysClone3, uintptr(unsafe.Pointer(&cloneArgs)), cloneArgsSize, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return int(pid), errno
	}
	afterForkInChild()
	serve(ctl)
	return 0, 0
}
