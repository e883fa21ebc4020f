//go:build linux

package initproc

import (
	"os"
	"runtime/debug"
	"syscall"
	"unsafe"
)

// Name is the argv[0] under which this binary becomes a zygote instead of running main.
const Name = "holdfast-init"

// RequestFD is the zygote's end of its SOCK_SEQPACKET socket. A request is a Request with the child's control socket;
// the answer a Response.
const RequestFD = 3

// Request asks the zygote for a child.
type Request struct {
	Flags uint64 // clone flags; CLONE_PARENT is added
}

// Response tells the child's pid as the zygote sees it, or why there is none.
type Response struct {
	PID   int64
	Errno int64
}

func init() {
	if len(os.Args) == 1 && os.Args[0] == Name {
		debug.SetGCPercent(-1)
		zygote()
		os.Exit(0)
	}
}

// zygote serves requests until the runtime closes the socket.
func zygote() {
	const dumpable = 0 // nothing in a container may look into it or its children
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, dumpable, 0); errno != 0 {
		os.Exit(1)
	}
	buf := make([]byte, unsafe.Sizeof(Request{}))
	oob := make([]byte, syscall.CmsgSpace(4))
	for {
		n, oobn, _, _, err := syscall.Recvmsg(RequestFD, buf, oob, syscall.MSG_CMSG_CLOEXEC)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n != len(buf) || oobn < syscall.CmsgSpace(4) {
			return
		}
		req := (*Request)(unsafe.Pointer(&buf[0]))
		ctl := *(*int32)(unsafe.Pointer(&oob[syscall.SizeofCmsghdr]))
		pid, errno := clone(uintptr(req.Flags)|syscall.CLONE_PARENT, uintptr(ctl))
		syscall.Close(int(ctl))
		resp := Response{PID: int64(pid), Errno: int64(errno)}
		out := (*[unsafe.Sizeof(resp)]byte)(unsafe.Pointer(&resp))
		if _, err := syscall.Write(RequestFD, out[:]); err != nil {
			return
		}
	}
}
