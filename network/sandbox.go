package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// sandbox is what the node knows of one veth. Everything in it can be read back from the kernel.
type sandbox struct {
	name string // of the veth's end on the node
	host int    // its index

	mu    sync.Mutex      // guards the rest
	inner *netlink.Handle // in the sandbox's namespace, from Prepare to Connect; nil when not open
	peer  int             // index of eth0 in the sandbox, with inner
	addrs []netip.Addr    // routed to it
}

func (s *sandbox) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked()
}

func (s *sandbox) closeLocked() {
	if s.inner != nil {
		s.inner.Close()
		s.inner = nil
	}
}

// Prepare makes sandboxID's link: a veth with eth0 in the namespace at netnsPath, lo up and a default route through
// Gateway, and no address yet. It is done ahead of Connect, for parked sandboxes. It may be called again.
func (n *Network) Prepare(ctx context.Context, sandboxID, netnsPath string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	s, err := n.prepare(ctx, sandboxID, netnsPath)
	if err != nil {
		return fmt.Errorf("prepare network of sandbox %s: %w", sandboxID, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if old := n.sandboxLocked(sandboxID); old != nil {
		old.close()
		s.addrs = old.addrs
	}
	n.sandboxes[sandboxID] = s
	return nil
}

func (n *Network) prepare(ctx context.Context, sandboxID, netnsPath string) (*sandbox, error) {
	ns, err := netns.GetFromPath(netnsPath)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", netnsPath, err)
	}
	defer func() { _ = ns.Close() }()
	s, err := n.ensureVeth(n.linkName(sandboxID), ns)
	if err != nil {
		return nil, err
	}
	if err := s.openInner(ns); err != nil {
		return nil, err
	}
	err = s.setUpInner(ns)
	if err == nil {
		err = n.awaitCarrier(ctx, s)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// awaitCarrier returns when the node's end can send. The kernel lets it do so some time after the other end came up, and
// silently drops what is sent before; asking for the link's state makes newer kernels do it at once.
func (n *Network) awaitCarrier(ctx context.Context, s *sandbox) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Second, errors.New("the link does not come up"))
	defer cancel()
	for {
		link, err := n.nl.LinkByIndex(s.host)
		if err != nil {
			return fmt.Errorf("find %s: %w", s.name, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Microsecond):
		}
	}
}

// linkName is the node's end of sandboxID's veth. It follows from the ID, so that nothing need be remembered.
func (n *Network) linkName(sandboxID string) string {
	sum := sha256.Sum256([]byte(sandboxID))
	return n.cfg.Prefix + hex.EncodeToString(sum[:])[:15-len(n.cfg.Prefix)]
}

// ensureVeth makes the veth straight into ns; two messages where creating, moving and raising it would be five.
func (n *Network) ensureVeth(name string, ns netns.NsHandle) (*sandbox, error) {
	hostMAC, peerMAC := macs(name)
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: name, MTU: n.cfg.MTU, Flags: net.FlagUp, HardwareAddr: hostMAC, TxQLen: -1, NumTxQueues: 1, NumRxQueues: 1},
		PeerName:         "eth0",
		PeerHardwareAddr: peerMAC,
		PeerMTU:          uint32(n.cfg.MTU),
		PeerNamespace:    netlink.NsFd(ns),
	}
	if err := n.nl.LinkAdd(veth); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("create veth %s: %w", name, err)
	}
	link, err := n.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("find veth %s: %w", name, err)
	}
	if err := hardenVeth(name); err != nil {
		return nil, err
	}
	return &sandbox{name: name, host: link.Attrs().Index}, nil
}

// hardenVeth closes IPv6 on the node's end, which would be a way round every rule, lets connections to published
// ports of 127.0.0.1 leave by it (the rules keep replicas from the node's 127.0.0.1), and leaves the check of source
// addresses to the rules.
func hardenVeth(name string) error {
	return errors.Join(
		setOptionalSysctl("net/ipv6/conf/"+name+"/disable_ipv6", "1"),
		setSysctl("net/ipv4/conf/"+name+"/route_localnet", "1"),
		setSysctl("net/ipv4/conf/"+name+"/rp_filter", "0"),
	)
}

// macs returns fixed, locally administered addresses of a veth's ends: both sides can then have permanent neighbour
// entries, and nobody waits for ARP nor fills the node's neighbour table.
func macs(name string) (host, peer net.HardwareAddr) {
	sum := sha256.Sum256([]byte(name))
	host, peer = net.HardwareAddr(sum[:6]), net.HardwareAddr(sum[6:12])
	host[0], peer[0] = host[0]&0xfc|0x02, peer[0]&0xfc|0x02
	return host, peer
}

func (s *sandbox) openInner(ns netns.NsHandle) error {
	inner, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in the sandbox: %w", err)
	}
	peer, err := inner.LinkByName("eth0")
	if err != nil {
		inner.Close()
		return fmt.Errorf("find eth0 in the sandbox: %w", err)
	}
	s.inner, s.peer = inner, peer.Attrs().Index
	return nil
}

func (s *sandbox) setUpInner(ns netns.NsHandle) error {
	if err := inNamespace(ns, func() error {
		// As Docker has it: a program that is not root may listen on port 80 of its own namespace.
		return setSysctl("net/ipv4/ip_unprivileged_port_start", "0")
	}); err != nil {
		return err
	}
	lo, err := s.inner.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo in the sandbox: %w", err)
	}
	for _, link := range []netlink.Link{lo, s.link()} {
		if err := s.inner.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up in the sandbox: %w", link.Attrs().Name, err)
		}
	}
	hostMAC, _ := macs(s.name)
	if err := s.inner.NeighSet(neighbour(s.peer, Gateway, hostMAC)); err != nil {
		return fmt.Errorf("name the gateway in the sandbox: %w", err)
	}
	route := &netlink.Route{LinkIndex: s.peer, Gw: Gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
	if err := s.inner.RouteReplace(route); err != nil {
		return fmt.Errorf("add the default route in the sandbox: %w", err)
	}
	return nil
}

// link is eth0 in the sandbox.
func (s *sandbox) link() netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "eth0", Index: s.peer}}
}

func neighbour(link int, addr netip.Addr, mac net.HardwareAddr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: link, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac}
}

// inNamespace runs f on a thread that is in ns for as long.
func inNamespace(ns netns.NsHandle, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		old, err := netns.Get()
		if err != nil {
			result <- fmt.Errorf("get own namespace: %w", err)
			return // the locked thread ends with the goroutine
		}
		defer func() { _ = old.Close() }()
		if err := netns.Set(ns); err != nil {
			result <- fmt.Errorf("enter the sandbox's namespace: %w", err)
			return
		}
		err = f()
		if netns.Set(old) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// findSandboxes reads back the veths of an agent before this one, and what is routed to them.
func (n *Network) findSandboxes() error {
	links, err := n.nl.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	byIndex := map[int]*sandbox{}
	for _, l := range links {
		if name := l.Attrs().Name; strings.HasPrefix(name, n.cfg.Prefix) {
			s := &sandbox{name: name, host: l.Attrs().Index}
			byIndex[s.host] = s
			n.sandboxes[foundKey(name)] = s
		}
	}
	routes, err := n.nl.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		s := byIndex[r.LinkIndex]
		if s == nil || r.Dst == nil {
			continue
		}
		if addr, ok := netip.AddrFromSlice(r.Dst.IP.To4()); ok {
			s.addrs = append(s.addrs, addr)
		}
	}
	return nil
}

// foundKey is the key of a sandbox whose ID is not known yet, only its link's name.
func foundKey(link string) string { return "\x00" + link }

// sandboxLocked returns what is known of sandboxID, or nil.
func (n *Network) sandboxLocked(sandboxID string) *sandbox {
	if s := n.sandboxes[sandboxID]; s != nil {
		return s
	}
	key := foundKey(n.linkName(sandboxID))
	s := n.sandboxes[key]
	if s != nil {
		delete(n.sandboxes, key)
		n.sandboxes[sandboxID] = s
	}
	return s
}
