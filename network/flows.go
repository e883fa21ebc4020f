package network

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A flow, once NATed, goes where it first went until conntrack forgets it; for UDP that can be never, while the client
// keeps sending. So what a new table takes away is cut from conntrack: the next packet is then NATed anew.

// flowRules tell which flows a table wants. They share nothing with it.
type flowRules struct {
	subnets []netip.Prefix                      // of all networks
	known   map[netip.Addr]bool                 // replicas and service addresses
	vips    map[netip.Addr][]netip.Addr         // ready replicas by service address
	udp     map[netip.AddrPort][]netip.AddrPort // targets by published UDP port; address invalid: any of the node
	local   map[netip.Addr]bool                 // addresses of the node
}

func newFlowRules(t Table) flowRules {
	r := flowRules{known: map[netip.Addr]bool{}, vips: backendsOf(t), udp: udpPorts(t)}
	for _, n := range t.Networks {
		r.subnets = append(r.subnets, n.Subnet)
	}
	for _, p := range t.Endpoints {
		for _, a := range p.Addrs {
			r.known[a] = true
		}
	}
	for vip := range r.vips {
		r.known[vip] = true
	}
	return r
}

func udpPorts(t Table) map[netip.AddrPort][]netip.AddrPort {
	out := map[netip.AddrPort][]netip.AddrPort{}
	for _, h := range t.HostPorts {
		if h.Protocol != "udp" {
			continue
		}
		out[netip.AddrPortFrom(h.HostIP, h.Port)] = slices.Clone(h.To)
	}
	return out
}

// stale reports whether flow f is to be cut.
func (r flowRules) stale(f *netlink.ConntrackFlow) bool {
	src, dst, server := addrOf(f.Forward.SrcIP), addrOf(f.Forward.DstIP), addrOf(f.Reverse.SrcIP)
	if r.gone(src) || r.gone(dst) || r.gone(server) {
		return true
	}
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	if backends, ok := r.vips[dst]; ok {
		return !slices.Contains(backends, server)
	}
	if !r.local[dst] {
		return false
	}
	targets, ok := r.udp[netip.AddrPortFrom(dst, f.Forward.DstPort)]
	if !ok {
		targets, ok = r.udp[netip.AddrPortFrom(netip.Addr{}, f.Forward.DstPort)]
	}
	return ok && !slices.Contains(targets, netip.AddrPortFrom(server, f.Reverse.SrcPort))
}

// gone reports whether a is an address of our networks that nobody has.
func (r flowRules) gone(a netip.Addr) bool {
	return !r.known[a] && slices.ContainsFunc(r.subnets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (r flowRules) MatchConntrackFlow(f *netlink.ConntrackFlow) bool { return r.stale(f) }

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// takesAway reports whether r ends flows that last had. Looking at all flows costs time, so it is done only then.
func (r flowRules) takesAway(last flowRules) bool {
	for a := range last.known {
		if !r.known[a] {
			return true
		}
	}
	for vip, backends := range last.vips {
		left := r.vips[vip]
		if slices.ContainsFunc(backends, func(a netip.Addr) bool { return !slices.Contains(left, a) }) {
			return true
		}
	}
	return !maps.EqualFunc(last.udp, r.udp, slices.Equal)
}

// cut ends the flows that r does not want, those of networks that only last had too.
func (n *Network) cut(r, last flowRules) error {
	addrs, err := n.nl.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list the node's addresses: %w", err)
	}
	r.subnets = slices.Concat(r.subnets, last.subnets)
	r.local = map[netip.Addr]bool{}
	for _, a := range addrs {
		r.local[addrOf(a.IP)] = true
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, r); err != nil {
		return fmt.Errorf("cut stale flows: %w", err)
	}
	return nil
}
