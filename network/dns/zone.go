// Package dns is the DNS server of a node's replicas. It answers by who asks: a replica resolves what shares a network
// with it, and everything else goes to resolvers outside. It imports the standard library and miekg/dns only.
package dns

import (
	"net/netip"
	"slices"
	"strings"
)

// Zone is all that the server knows by itself. Networks are named by their name in the cluster.
type Zone struct {
	Networks []Network
	Askers   []Asker
	Records  []Record
	Pointers []Pointer
	Hosts    map[string]netip.Addr // resolved for everyone
}

// Network is one network. Who is on internal networks only resolves nothing outside the cluster, as a resolver that
// did would be a way out.
type Network struct {
	Name     string
	Subnet   netip.Prefix
	Internal bool
}

// Asker is one replica that asks.
type Asker struct {
	App       string
	Addrs     []netip.Addr
	Networks  []string
	Resolvers []netip.AddrPort // asked instead of the server's own
}

// Record says what Name is on Network. Records of equal name add up, but for an asker those of its own app hide those
// of others. A record without Addrs makes the name exist.
type Record struct {
	Network string
	App     string
	Name    string // labels joined by dots, without a final one, any case
	Addrs   []netip.Addr
}

// Pointer names an address, for askers on its network.
type Pointer struct {
	Network string
	Addr    netip.Addr
	Name    string
}

// index is a Zone made fast to ask. It never changes.
type index struct {
	networks []Network
	askers   map[netip.Addr]*asker
	names    map[string][]Record // lower case; in the zone's order
	pointers map[netip.Addr]Pointer
	hosts    map[string]netip.Addr
}

type asker struct {
	app       string
	networks  []string
	resolvers []netip.AddrPort
	isolated  bool // on internal networks only
}

func newIndex(z Zone) *index {
	x := &index{
		networks: z.Networks,
		askers:   make(map[netip.Addr]*asker, len(z.Askers)),
		names:    make(map[string][]Record, len(z.Records)),
		pointers: make(map[netip.Addr]Pointer, len(z.Pointers)),
		hosts:    make(map[string]netip.Addr, len(z.Hosts)),
	}
	internal := map[string]bool{}
	for _, n := range z.Networks {
		internal[n.Name] = n.Internal
	}
	for _, a := range z.Askers {
		open := slices.ContainsFunc(a.Networks, func(n string) bool { return !internal[n] })
		entry := &asker{app: a.App, networks: a.Networks, resolvers: a.Resolvers, isolated: !open}
		for _, addr := range a.Addrs {
			x.askers[addr] = entry
		}
	}
	for _, r := range z.Records {
		name := strings.ToLower(r.Name)
		x.names[name] = append(x.names[name], r)
	}
	for _, p := range z.Pointers {
		x.pointers[p.Addr] = p
	}
	for name, addr := range z.Hosts {
		x.hosts[strings.ToLower(name)] = addr
	}
	return x
}

// asker returns who asks from addr: a replica of the zone, or else, for the moment before the zone knows it, someone on
// the network that addr is of. Nil for strangers.
func (x *index) asker(addr netip.Addr) *asker {
	if a := x.askers[addr]; a != nil {
		return a
	}
	for _, n := range x.networks {
		if n.Subnet.Contains(addr) {
			return &asker{networks: []string{n.Name}, isolated: n.Internal}
		}
	}
	return nil
}

// lookup returns the addresses of name, in lower case and without a final dot, for a. known means that the cluster has
// the name, though perhaps not for a; such names are never asked for outside.
func (x *index) lookup(a *asker, name string) (addrs []netip.Addr, visible, known bool) {
	if addr, ok := x.hosts[name]; ok {
		return []netip.Addr{addr}, true, true
	}
	records := x.names[name]
	ownApp := false
	for _, r := range records {
		if !slices.Contains(a.networks, r.Network) {
			continue
		}
		visible = true
		own := a.app != "" && r.App == a.app
		switch {
		case own && !ownApp:
			ownApp, addrs = true, slices.Clone(r.Addrs)
		case own == ownApp:
			addrs = appendNew(addrs, r.Addrs)
		}
	}
	return addrs, visible, len(records) > 0
}

func appendNew(addrs, more []netip.Addr) []netip.Addr {
	for _, a := range more {
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// pointer returns the name of addr for a. ours means that addr is of one of our networks, whoever asks.
func (x *index) pointer(a *asker, addr netip.Addr) (name string, ours bool) {
	if p, ok := x.pointers[addr]; ok && slices.Contains(a.networks, p.Network) {
		return p.Name, true
	}
	for host, at := range x.hosts {
		if at == addr && (name == "" || host < name) {
			name = host
		}
	}
	if name != "" {
		return name, true
	}
	return "", slices.ContainsFunc(x.networks, func(n Network) bool { return n.Subnet.Contains(addr) })
}
