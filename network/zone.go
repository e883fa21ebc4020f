package network

import (
	"net/netip"
	"slices"
	"strconv"

	"github.com/holdfast/holdfast/network/dns"
)

// zone returns what the DNS server answers for t, which is sound:
//
//	<service>          the service's address on the asker's networks, or with dnsrr its ready replicas
//	<alias>            the same for all services with the alias
//	tasks.<service>    its ready replicas
//	<slot>.<service>   the replica in the slot, ready or not, as peers need it to become ready
//	<replica>          one replica, by ID or host name
//
// Each of the first four also with ".<app>" after it.
func zone(t Table) dns.Zone {
	b := zoneBuilder{peers: map[serviceKey][]Peer{}}
	b.zone.Hosts = map[string]netip.Addr{"host.docker.internal": Gateway}
	for name, addr := range t.Hosts {
		b.zone.Hosts[name] = addr
	}
	for _, n := range t.Networks {
		b.zone.Networks = append(b.zone.Networks, dns.Network{Name: n.Name, Subnet: n.Subnet, Internal: n.Internal})
	}
	for _, p := range t.Endpoints {
		b.addAsker(p)
		if !p.Leaving {
			b.addPeer(p)
		}
	}
	for _, s := range t.Services {
		for _, on := range s.Networks {
			b.addService(s, on)
		}
	}
	return b.zone
}

type serviceKey struct{ app, service string }

type zoneBuilder struct {
	zone  dns.Zone
	peers map[serviceKey][]Peer
}

func (b *zoneBuilder) addAsker(p Peer) {
	asker := dns.Asker{App: p.App, Resolvers: p.Resolvers}
	for network, addr := range p.Addrs {
		asker.Networks = append(asker.Networks, network)
		asker.Addrs = append(asker.Addrs, addr)
	}
	b.zone.Askers = append(b.zone.Askers, asker)
}

func (b *zoneBuilder) addPeer(p Peer) {
	k := serviceKey{p.App, p.Service}
	b.peers[k] = append(b.peers[k], p)
	slot := strconv.Itoa(p.Slot) + "." + p.Service
	for network, addr := range p.Addrs {
		r := dns.Record{Network: network, App: p.App, Addrs: []netip.Addr{addr}}
		b.add(r, p.Replica)
		if p.Hostname != "" && p.Hostname != p.Replica {
			b.add(r, p.Hostname)
		}
		b.addQualified(r, slot)
		b.zone.Pointers = append(b.zone.Pointers, dns.Pointer{Network: network, Addr: addr, Name: p.Replica})
	}
}

func (b *zoneBuilder) addService(s Service, on ServiceNet) {
	var ready []netip.Addr
	for _, p := range b.peers[serviceKey{s.App, s.Name}] {
		if addr, ok := p.Addrs[on.Network]; ok && p.Ready {
			ready = append(ready, addr)
		}
	}
	slices.SortFunc(ready, netip.Addr.Compare)
	addrs := ready
	if on.VIP.IsValid() {
		addrs = []netip.Addr{on.VIP}
		b.zone.Pointers = append(b.zone.Pointers, dns.Pointer{Network: on.Network, Addr: on.VIP, Name: s.Name + "." + s.App})
	}
	for _, name := range append([]string{s.Name}, on.Aliases...) {
		b.addQualified(dns.Record{Network: on.Network, App: s.App, Addrs: addrs}, name)
		b.addQualified(dns.Record{Network: on.Network, App: s.App, Addrs: ready}, "tasks."+name)
	}
}

func (b *zoneBuilder) add(r dns.Record, name string) {
	r.Name = name
	b.zone.Records = append(b.zone.Records, r)
}

// addQualified adds r under name and, for other apps on the network, under name.app.
func (b *zoneBuilder) addQualified(r dns.Record, name string) {
	b.add(r, name)
	b.add(r, name+"."+r.App)
}
