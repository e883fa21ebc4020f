package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// contents are the elements of all sets: set name → key → value. Keys and values are as the kernel has them; the value
// of a plain set's element is "", that of a verdict map the chain's name, and that of an interval its end.
type contents map[string]map[string]string

func (c contents) put(set, key, value string) {
	if c[set] == nil {
		c[set] = map[string]string{}
	}
	c[set][key] = value
}

// desired returns what the sets must hold for t, which is sound.
func desired(t Table) contents {
	c := contents{}
	for _, n := range t.Networks {
		first, last := bounds(n.Subnet)
		c.put(setSubnets, first, next(last))
		if !n.Internal {
			c.put(setOpen, first, next(last))
		}
		c.put(setPeers, first+first, last+last)
	}
	for _, p := range t.Endpoints {
		if !p.Local {
			continue
		}
		for _, a := range p.Addrs {
			c.put(setSelf, bytesOf(a)+bytesOf(a), "")
		}
	}
	for vip, backends := range backendsOf(t) {
		c.balance(vips, bytesOf(vip), values(backends))
	}
	for _, h := range t.HostPorts {
		c.publish(h)
	}
	return c
}

// balance sends the flows of one key to targets; none of them when there is none.
func (c contents) balance(b balancer, key string, targets []string) {
	if len(targets) == 0 {
		return
	}
	c.put(b.name, key, chainFor(b, len(targets)))
	for i, target := range targets {
		c.put(b.targets(), key+number(uint32(i)), target)
	}
}

func chainFor(b balancer, targets int) string { return fmt.Sprintf("%s_%d", b.name, targets) }

func (c contents) publish(h HostPort) {
	targets := make([]string, len(h.To))
	for i, to := range h.To {
		targets[i] = bytesOf(to.Addr()) + port(to.Port())
	}
	key := protocol(h.Protocol) + port(h.Port)
	if !h.HostIP.IsValid() {
		c.balance(anyPorts, key, targets)
		return
	}
	c.balance(addrPorts, bytesOf(h.HostIP)+key, targets)
}

// backendsOf returns, for each service address, the addresses of its ready replicas on that network, sorted.
func backendsOf(t Table) map[netip.Addr][]netip.Addr {
	type key struct{ app, service, network string }
	ready := map[key][]netip.Addr{}
	for _, p := range t.Endpoints {
		if !p.Ready || p.Leaving {
			continue
		}
		for network, addr := range p.Addrs {
			k := key{p.App, p.Service, network}
			ready[k] = append(ready[k], addr)
		}
	}
	out := map[netip.Addr][]netip.Addr{}
	for _, s := range t.Services {
		for _, on := range s.Networks {
			if on.VIP.IsValid() {
				backends := ready[key{s.App, s.Name, on.Network}]
				slices.SortFunc(backends, netip.Addr.Compare)
				out[on.VIP] = backends
			}
		}
	}
	return out
}

func values(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = bytesOf(a)
	}
	return out
}

func bytesOf(a netip.Addr) string {
	b := a.As4()
	return string(b[:])
}

// number is in the machine's byte order, as numgen gives it.
func number(n uint32) string { return string(binary.NativeEndian.AppendUint32(nil, n)) }

// port fills 4 bytes, as every field of a key does.
func port(p uint16) string { return string(binary.BigEndian.AppendUint16(nil, p)) + "\x00\x00" }

func protocol(name string) string {
	if name == "udp" {
		return string([]byte{unix.IPPROTO_UDP, 0, 0, 0})
	}
	return string([]byte{unix.IPPROTO_TCP, 0, 0, 0})
}

// bounds returns the first and the last address of p.
func bounds(p netip.Prefix) (first, last string) {
	p = p.Masked()
	b := p.Addr().As4()
	end := binary.BigEndian.Uint32(b[:]) | uint32(1<<(32-p.Bits())-1)
	return string(b[:]), string(binary.BigEndian.AppendUint32(nil, end))
}

// next returns the address after a; all zeroes after the last one of all.
func next(a string) string {
	return string(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32([]byte(a))+1))
}

// change is what turns one contents into another.
type change struct {
	set      string
	key, val string
}

// diff returns the elements to delete from have and to add to it so that it becomes want, sorted. An element whose
// value changes is in both.
func diff(have, want contents) (del, add []change) {
	for _, set := range allSets() {
		for k, v := range have[set.Name] {
			if w, ok := want[set.Name][k]; !ok || w != v {
				del = append(del, change{set.Name, k, v})
			}
		}
		for k, v := range want[set.Name] {
			if h, ok := have[set.Name][k]; !ok || h != v {
				add = append(add, change{set.Name, k, v})
			}
		}
	}
	slices.SortFunc(del, compareChange)
	slices.SortFunc(add, compareChange)
	return del, add
}

func compareChange(a, b change) int {
	if c := strings.Compare(a.set, b.set); c != 0 {
		return c
	}
	return strings.Compare(a.key, b.key)
}
