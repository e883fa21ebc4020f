package loop

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls on the request path skip the scheduler's hand-off: all sockets are non-blocking, so none takes long.

func recv(fd int32, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
	return int(n), errno
}

func send(fd int32, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(
		syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// vector is what a gathering send needs, kept by the loop so that it is not allocated.
type vector struct {
	msg unix.Msghdr
	iov [3]unix.Iovec
}

// sendAll sends the parts, none of them empty, in one call.
func (v *vector) send(fd int32, parts ...[]byte) (int, syscall.Errno) {
	for i, p := range parts {
		v.iov[i].Base = &p[0]
		v.iov[i].SetLen(len(p))
	}
	v.msg.Iov = &v.iov[0]
	v.msg.SetIovlen(len(parts))
	n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)), unix.MSG_NOSIGNAL)
	v.iov = [3]unix.Iovec{}
	return int(n), errno
}

func accept(fd int32, from *unix.RawSockaddrAny) (int32, syscall.Errno) {
	size := uint32(unsafe.Sizeof(*from))
	n, _, errno := syscall.RawSyscall6(
		syscall.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int32(n), errno
}

func addrOf(sa *unix.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), in.Port<<8|in.Port>>8)
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom16(in.Addr).Unmap(), in.Port<<8|in.Port>>8)
	}
	return netip.AddrPort{}
}

// connect begins a connection to addr.
func connect(addr netip.AddrPort) (int32, error) {
	family, sa := sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return int32(fd), nil
}

func sockaddr(addr netip.AddrPort) (int, unix.Sockaddr) {
	if addr.Addr().Unmap().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Addr: addr.Addr().Unmap().As4(), Port: int(addr.Port())}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Addr: addr.Addr().As16(), Port: int(addr.Port())}
}

// connected returns why a connection that was begun failed, or nil.
func connected(fd int32) error {
	errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return err
	case errno != 0:
		return syscall.Errno(errno)
	}
	return nil
}

// listenShared opens n sockets on addr that share its connections. It fails when anything else listens there: sharing is
// for this process only.
func listenShared(network, addr string, n int) (fds []int32, at *net.TCPAddr, err error) {
	probe, err := net.Listen(network, addr)
	if err != nil {
		return nil, nil, err
	}
	at = probe.Addr().(*net.TCPAddr)
	if err := probe.Close(); err != nil {
		return nil, nil, err
	}
	for range n {
		fd, err := listenOne(at)
		if err != nil {
			for _, fd := range fds {
				unix.Close(int(fd))
			}
			return nil, nil, fmt.Errorf("listen on %s: %w", at, err)
		}
		fds = append(fds, fd)
	}
	return fds, at, nil
}

func listenOne(at *net.TCPAddr) (int32, error) {
	addr := at.AddrPort()
	family, sa := sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	type option struct{ level, name, value int }
	options := []option{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, // inherited by what is accepted, as the next
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	}
	if family == unix.AF_INET6 {
		only := 1
		if addr.Addr().IsUnspecified() {
			only = 0
		}
		options = append(options, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if err := unix.Listen(fd, 4096); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return int32(fd), nil
}

func epollAdd(ep int, fd int32, gen uint32, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: fd, Pad: int32(gen)}
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, int(fd), &ev)
}

func epollMod(ep int, fd int32, gen uint32, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: fd, Pad: int32(gen)}
	return unix.EpollCtl(ep, unix.EPOLL_CTL_MOD, int(fd), &ev)
}

// epollNow polls without waiting.
func epollNow(ep int, events []unix.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(
		syscall.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// hasMore reports whether there is something to read that was not read, be it the end.
func hasMore(fd int32) bool {
	const closeWait = 8 // include/net/tcp_states.h
	if n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ); err == nil && n > 0 {
		return true
	}
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State == closeWait
}
