package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"

	"github.com/holdfast/holdfast"
)

// portHolder keeps published ports from the node's own programs, and theirs from us. The kernel redirects a published
// port before any socket sees it: without a socket of ours a program could listen on it and wonder, or be cut off by it.
type portHolder struct {
	held map[portKey]io.Closer
	skip uint16 // our DNS server's, which is held as it is
}

type portKey struct {
	ip       netip.Addr
	port     uint16
	protocol string
}

// hold makes the held ports those of ports and returns the ones that may be published. The error, of ErrConflict, names
// those that another program has.
func (h *portHolder) hold(ctx context.Context, ports []HostPort) ([]HostPort, error) {
	want := map[portKey]bool{}
	for _, p := range ports {
		want[portKey{p.HostIP, p.Port, p.Protocol}] = true
	}
	for k, c := range h.held {
		if !want[k] {
			_ = c.Close()
			delete(h.held, k)
		}
	}
	var free []HostPort
	var errs []error
	for _, p := range ports {
		if err := h.take(ctx, portKey{p.HostIP, p.Port, p.Protocol}); err != nil {
			errs = append(errs, err)
			continue
		}
		free = append(free, p)
	}
	return free, errors.Join(errs...)
}

func (h *portHolder) take(ctx context.Context, k portKey) error {
	if h.held[k] != nil || k.port == h.skip {
		return nil
	}
	ip := k.ip
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified()
	}
	c, err := listen(ctx, k.protocol, netip.AddrPortFrom(ip, k.port).String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return holdfast.Errorf(holdfast.ErrConflict, "host port %s:%d/%s is in use by another program on this node", ip, k.port, k.protocol)
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil // an address that the node may get later; nobody else can have its port either
	}
	if err != nil {
		return fmt.Errorf("hold host port %s:%d/%s: %w", ip, k.port, k.protocol, err)
	}
	h.held[k] = c
	return nil
}

func listen(ctx context.Context, protocol, addr string) (io.Closer, error) {
	var l net.ListenConfig
	if protocol == "udp" {
		return l.ListenPacket(ctx, "udp4", addr)
	}
	return l.Listen(ctx, "tcp4", addr)
}

func (h *portHolder) close() {
	for k, c := range h.held {
		_ = c.Close()
		delete(h.held, k)
	}
}
