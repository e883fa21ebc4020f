package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/holdfast/holdfast"
)

// Connect gives a prepared sandbox its addresses and routes them to it; from then on what it sends from any other
// address is dropped. ErrNotFound when it was not prepared. It may be called again, also with other addresses.
func (n *Network) Connect(ctx context.Context, e Endpoint) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	n.mu.Lock()
	s := n.sandboxLocked(e.Sandbox)
	n.mu.Unlock()
	if s == nil {
		return holdfast.Errorf(holdfast.ErrNotFound, "connect replica %s: sandbox %s was not prepared", e.Replica, e.Sandbox)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := n.connectLocked(s, e); err != nil {
		return fmt.Errorf("connect replica %s: %w", e.Replica, err)
	}
	return nil
}

func (n *Network) connectLocked(s *sandbox, e Endpoint) error {
	if s.inner == nil {
		if err := s.reopenLocked(e.NetNS); err != nil {
			return err
		}
	}
	defer s.closeLocked()
	for _, addr := range slices.Clone(s.addrs) {
		if slices.ContainsFunc(e.Attachments, func(a Attachment) bool { return a.Addr == addr }) {
			continue
		}
		if err := n.detachLocked(s, addr); err != nil {
			return err
		}
	}
	for _, a := range e.Attachments {
		if err := n.attachLocked(s, a); err != nil {
			return fmt.Errorf("attach to network %s: %w", a.Network, err)
		}
	}
	return nil
}

func (s *sandbox) reopenLocked(netnsPath string) error {
	ns, err := netns.GetFromPath(netnsPath)
	if err != nil {
		return fmt.Errorf("open %s: %w", netnsPath, err)
	}
	defer func() { _ = ns.Close() }()
	return s.openInner(ns)
}

// attachLocked adds an address, a route so that what goes to its network comes from it, and the way to it on the
// node, which it takes over from a replica that had the address before.
func (n *Network) attachLocked(s *sandbox, a Attachment) error {
	if err := s.inner.AddrReplace(s.link(), &netlink.Addr{IPNet: hostNet(a.Addr)}); err != nil {
		return fmt.Errorf("add address %s: %w", a.Addr, err)
	}
	err := s.inner.RouteReplace(&netlink.Route{
		LinkIndex: s.peer, Dst: ipNet(a.Subnet),
		Gw: Gateway.AsSlice(), Src: a.Addr.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
	})
	if err != nil {
		return fmt.Errorf("route %s: %w", a.Subnet, err)
	}
	_, peerMAC := macs(s.name)
	if err := n.nl.NeighSet(neighbour(s.host, a.Addr, peerMAC)); err != nil {
		return fmt.Errorf("name %s on the node: %w", a.Addr, err)
	}
	if err := n.nl.RouteReplace(hostRoute(s, a.Addr)); err != nil {
		return fmt.Errorf("route %s on the node: %w", a.Addr, err)
	}
	if !slices.Contains(s.addrs, a.Addr) {
		s.addrs = append(s.addrs, a.Addr)
	}
	return nil
}

// detachLocked undoes attachLocked; the route to its network goes with the address, by the kernel.
func (n *Network) detachLocked(s *sandbox, addr netip.Addr) error {
	err := s.inner.AddrDel(s.link(), &netlink.Addr{IPNet: hostNet(addr)})
	if err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("remove address %s: %w", addr, err)
	}
	return n.unrouteLocked(s, addr)
}

// unrouteLocked removes the node's route to addr, unless another sandbox has taken it over.
func (n *Network) unrouteLocked(s *sandbox, addr netip.Addr) error {
	if err := n.nl.RouteDel(hostRoute(s, addr)); err != nil && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.ENODEV) {
		return fmt.Errorf("remove route of %s: %w", addr, err)
	}
	s.addrs = slices.DeleteFunc(s.addrs, func(a netip.Addr) bool { return a == addr })
	return nil
}

func hostRoute(s *sandbox, addr netip.Addr) *netlink.Route {
	return &netlink.Route{LinkIndex: s.host, Dst: hostNet(addr), Src: Gateway.AsSlice(), Scope: netlink.SCOPE_LINK}
}

// Release takes a sandbox's addresses from it and forgets it. Its veth goes with its namespace, or soon after, when
// something keeps that alive. Releasing what is not there is no error.
func (n *Network) Release(ctx context.Context, sandboxID string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	n.mu.Lock()
	s := n.sandboxLocked(sandboxID)
	delete(n.sandboxes, sandboxID)
	n.mu.Unlock()
	if s == nil {
		return nil
	}
	if err := n.release(s); err != nil {
		return fmt.Errorf("release network of sandbox %s: %w", sandboxID, err)
	}
	return nil
}

func (n *Network) release(s *sandbox) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked()
	var errs []error
	for _, addr := range slices.Clone(s.addrs) {
		errs = append(errs, n.unrouteLocked(s, addr))
	}
	select {
	case n.reap <- released{s.name, time.Now()}:
	default: // the next agent's Adopt does it
	}
	return errors.Join(errs...)
}

// Adopt tells which sandboxes live after an agent's restart, by ID; the veths of all others are released. Links of
// live ones go on untouched. It returns the IDs of live ones that have no veth here.
func (n *Network) Adopt(ctx context.Context, live []string) (missing []string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	n.mu.Lock()
	keep := map[*sandbox]bool{}
	for _, id := range live {
		if s := n.sandboxLocked(id); s != nil {
			keep[s] = true
		} else {
			missing = append(missing, id)
		}
	}
	var gone []*sandbox
	for key, s := range n.sandboxes {
		if !keep[s] {
			gone = append(gone, s)
			delete(n.sandboxes, key)
		}
	}
	n.mu.Unlock()
	var errs []error
	for _, s := range gone {
		errs = append(errs, n.release(s))
	}
	if err := errors.Join(errs...); err != nil {
		return missing, fmt.Errorf("adopt network: %w", err)
	}
	return missing, nil
}

// reapAfter is how long the kernel gets to delete a released veth with its namespace, which costs nobody anything,
// before reapLoop deletes it, which holds the kernel's network lock for tens of milliseconds.
const reapAfter = 5 * time.Second

type released struct {
	link string
	at   time.Time
}

func (n *Network) reapLoop() {
	for {
		select {
		case <-n.closed:
			return
		case r := <-n.reap:
			wait := time.NewTimer(time.Until(r.at.Add(n.cfg.reapAfter)))
			select {
			case <-n.closed:
				wait.Stop()
				return
			case <-wait.C:
			}
			n.deleteLink(r.link)
		}
	}
}

// deleteLink deletes a veth that nobody prepared again in the meantime.
func (n *Network) deleteLink(name string) {
	n.mu.Lock()
	for _, s := range n.sandboxes {
		if s.name == name {
			n.mu.Unlock()
			return
		}
	}
	n.mu.Unlock()
	link, err := n.nl.LinkByName(name)
	if err != nil {
		return // gone with its namespace
	}
	if err := n.nl.LinkDel(link); err != nil {
		n.cfg.Log.Warn("delete released link", "link", name, "error", err)
	}
}
