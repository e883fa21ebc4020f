//go:build linux

package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfo is the part of siginfo_t that waitid(2) fills in.
type siginfo struct {
	signo, errno, code int32
	_                  int32
	pid                int32
	uid                uint32
	status             int32
	_                  [100]byte
}

func (s *siginfo) raw() *unix.Siginfo { return (*unix.Siginfo)(unsafe.Pointer(s)) }

func (s *siginfo) exitCode() int {
	const exited = 1 // CLD_EXITED
	if s.code == exited {
		return int(s.status)
	}
	return 128 + int(s.status)
}
