//go:build linux

package initproc

import (
	"syscall"
	"unsafe"
)

// What follows lives in the data segment since a child must not allocate; each child has its own copy.
var (
	cloneArgs struct {
		flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
	}
	header Header
	answer struct {
		Answer
		regs [Registers]int64
	}
	control [8 + MaxFiles/2]uint64
	iov     [1]syscall.Iovec
	msg     syscall.Msghdr
	denied  syscall.Errno // what Try remembers
	forked  uintptr       // OpInit's child
	sigset  uint64
	siginfo [128]byte
	status  int32
	name    = [16]byte{'h', 'o', 'l', 'd', 'f', 'a', 's', 't', '-', 'i', 'n', 'i', 't'}
)

const (
	ctlFD         = FirstFree - 2
	connFD        = FirstFree - 1
	sysClone3     = 435
	sysCloseRange = 436
	cloneArgsSize = unsafe.Sizeof(cloneArgs)
	opSize        = unsafe.Sizeof(Op{})
)

// serve performs programs that arrive over ctl, for ever. ctl is either a listening socket, to which a runtime connects
// and, when that died, another; or a connected one, whose end is the child's.
//
//go:nosplit
//go:norace
//go:nocheckptr
func serve(ctl uintptr) {
	syscall.RawSyscall(syscall.SYS_DUP3, ctl, ctlFD, syscall.O_CLOEXEC)
	syscall.RawSyscall(sysCloseRange, ctlFD+1, ^uintptr(0)>>32, 0)
	syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_NAME, uintptr(unsafe.Pointer(&name)), 0)
	for {
		listening := accept()
		for receive() {
			base := mapImage()
			if errno := syscall.Errno(perform(base)); errno != 0 {
				answer.Errno = int32(errno)
				reply()
				exit(1)
			}
		}
		if !listening {
			exit(0)
		}
		syscall.RawSyscall(syscall.SYS_CLOSE, connFD, 0, 0)
	}
}

// accept puts the next connection at connFD.
//
//go:nosplit
//go:norace
//go:nocheckptr
func accept() (listening bool) {
	for {
		fd, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, ctlFD, 0, 0, syscall.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case syscall.EINTR:
			continue
		case syscall.EINVAL: // connected; ctlFD stays, so that FirstFree is
			syscall.RawSyscall(syscall.SYS_DUP3, ctlFD, connFD, syscall.O_CLOEXEC)
			return false
		case 0:
			if fd != connFD {
				syscall.RawSyscall(syscall.SYS_DUP3, fd, connFD, syscall.O_CLOEXEC)
				syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
			}
			return true
		}
		exit(3)
	}
}

// receive waits for a program and puts its descriptors into the registers. False: the runtime is gone.
//
//go:nosplit
//go:norace
//go:nocheckptr
func receive() bool {
	iov[0].Base = (*byte)(unsafe.Pointer(&header))
	iov[0].SetLen(int(unsafe.Sizeof(header)))
	msg.Iov = &iov[0]
	msg.Iovlen = 1
	msg.Control = (*byte)(unsafe.Pointer(&control))
	msg.SetControllen(8 * len(control))
	msg.Flags = 0
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_RECVMSG, connFD, uintptr(unsafe.Pointer(&msg)), syscall.MSG_CMSG_CLOEXEC)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 || n != unsafe.Sizeof(header) || msg.Controllen < syscall.SizeofCmsghdr {
			return false
		}
		break
	}
	hdr := (*syscall.Cmsghdr)(unsafe.Pointer(&control))
	count := (uintptr(hdr.Len) - syscall.SizeofCmsghdr) / 4
	for i := uintptr(0); i < count && i < MaxFiles; i++ {
		answer.regs[i] = int64(*(*int32)(unsafe.Add(unsafe.Pointer(&control), syscall.SizeofCmsghdr+4*i)))
	}
	return true
}

// mapImage maps the program that came as register 0, closes it and makes its pointers absolute.
//
//go:nosplit
//go:norace
//go:nocheckptr
func mapImage() unsafe.Pointer {
	fd := uintptr(answer.regs[0])
	addr, _, errno := syscall.RawSyscall6(syscall.SYS_MMAP, 0, uintptr(header.Size),
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE, fd, 0)
	if errno != 0 {
		exit(2)
	}
	syscall.RawSyscall(syscall.SYS_CLOSE, fd, 0, 0)
	base := *(*unsafe.Pointer)(unsafe.Pointer(&addr))
	for i := uintptr(0); i < uintptr(header.NumRel); i++ {
		at := *(*uint64)(unsafe.Add(base, uintptr(header.Relocs)+8*i))
		*(*uint64)(unsafe.Add(base, uintptr(at))) += uint64(addr)
	}
	return base
}

// perform runs the program's ops in order. It returns the error of the one that failed, whose index is then in answer.
//
//go:nosplit
//go:norace
//go:nocheckptr
func perform(base unsafe.Pointer) uintptr {
	denied = 0
	for i := uintptr(0); i < uintptr(header.NumOps); i++ {
		op := (*Op)(unsafe.Add(base, uintptr(header.Ops)+opSize*i))
		answer.Index = int32(i)
		for a := uintptr(0); a < 6; a++ {
			if op.Regs&(1<<a) != 0 {
				op.Args[a] = uint64(answer.regs[op.Args[a]])
			}
		}
		result, errno := step(op)
		switch {
		case errno == 0 || int32(errno) == op.Okay:
			i += uintptr(op.Skip)
		case op.Flags&IgnoreError != 0:
			if op.Flags&MinusOne != 0 {
				result = ^uintptr(0)
			}
		case op.Flags&Try != 0 && (errno == syscall.ENOENT || errno == syscall.ENOTDIR || errno == syscall.EACCES):
			if errno == syscall.EACCES {
				denied = errno
			}
		default:
			return uintptr(errno)
		}
		if op.Dst != NoReg {
			answer.regs[op.Dst] = int64(result)
		}
	}
	return 0
}

//go:nosplit
//go:norace
//go:nocheckptr
func step(op *Op) (uintptr, syscall.Errno) {
	switch op.NR {
	case OpFork:
		return 0, fork(uintptr(op.Args[0]))
	case OpInit:
		return 0, initFork()
	case OpAnswer:
		answer.Errno = 0
		reply()
		return 0, 0
	case OpFail:
		if denied != 0 {
			return 0, denied
		}
		return 0, syscall.Errno(op.Args[0])
	case OpByte:
		arg := uintptr(op.Args[0])
		if **(**byte)(unsafe.Pointer(&arg)) != byte(op.Args[1]) {
			return 0, syscall.Errno(op.Args[2])
		}
		return 0, 0
	case OpExit:
		exit(uintptr(op.Args[0]))
	}
	r, _, errno := syscall.RawSyscall6(uintptr(op.NR), uintptr(op.Args[0]), uintptr(op.Args[1]), uintptr(op.Args[2]),
		uintptr(op.Args[3]), uintptr(op.Args[4]), uintptr(op.Args[5]))
	return r, errno
}

//go:nosplit
//go:norace
//go:nocheckptr
func fork(flags uintptr) syscall.Errno {
	cloneArgs.flags = uint64(flags)
	if flags&syscall.CLONE_PARENT == 0 {
		cloneArgs.exitSignal = uint64(syscall.SIGCHLD)
	}
	pid, _, errno := syscall.RawSyscall(sysClone3, uintptr(unsafe.Pointer(&cloneArgs)), cloneArgsSize, 0)
	if errno == 0 && pid != 0 {
		answer.Errno = 0
		answer.PID = int64(pid)
		reply()
		exit(0)
	}
	return errno
}

//go:nosplit
//go:norace
//go:nocheckptr
func reply() {
	syscall.RawSyscall(syscall.SYS_WRITE, connFD, uintptr(unsafe.Pointer(&answer)), unsafe.Sizeof(answer))
}

//go:nosplit
//go:norace
func exit(code uintptr) {
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, code, 0, 0)
	}
}
