package agent

import (
	"cmp"
	"context"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/network"
	"github.com/holdfast/holdfast/store"
)

// followNetwork brings the node's network in line with each snapshot. It has a loop of its own: a replica that is to start
// does not wait until the kernel has taken the table in that its predecessor is no longer in.
func (a *Agent) followNetwork(ctx context.Context) error {
	snap := a.store.Snapshot()
	var applied tableState
	var retry time.Duration
	for {
		if err := applied.apply(ctx, a, snap); err != nil && ctx.Err() == nil {
			a.log.Error("apply network table", "err", err)
			retry = min(max(2*retry, 100*time.Millisecond), 10*time.Second)
			sleep(ctx, retry)
			snap = a.store.Snapshot()
			continue
		}
		retry = 0
		next, err := a.store.Wait(ctx, snap.Revision)
		if err != nil {
			return err
		}
		snap = next
	}
}

// tableState remembers the table that was applied last, so that changes that do not touch it cost nothing.
type tableState struct{ last *network.Table }

func (s *tableState) apply(ctx context.Context, a *Agent, snap *store.Snapshot) error {
	table := networkTable(snap, a.node.ID)
	if s.last != nil && reflect.DeepEqual(*s.last, table) {
		return nil
	}
	if err := a.network.Apply(ctx, table); err != nil {
		s.last = nil
		return err
	}
	s.last = &table
	return nil
}

// networkTable is the wanted state of the network of one node.
func networkTable(snap *store.Snapshot, node string) network.Table {
	var t network.Table
	b := tableBuilder{snap: snap, node: node, table: &t}
	for _, app := range snap.Apps.All("") {
		for _, n := range app.Networks {
			b.addNetwork(n)
		}
	}
	slices.SortFunc(t.Networks, func(x, y network.Net) int { return cmp.Compare(x.Name, y.Name) })
	for id, replica := range snap.Replicas.All("") {
		b.addReplica(id, replica)
	}
	for _, service := range snap.Services.All("") {
		b.addService(service)
	}
	return t
}

type tableBuilder struct {
	snap  *store.Snapshot
	node  string
	table *network.Table
}

// addNetwork adds a network once: an external one is named by several apps.
func (b *tableBuilder) addNetwork(n holdfast.Network) {
	if !n.Subnet.IsValid() {
		return
	}
	if slices.ContainsFunc(b.table.Networks, func(o network.Net) bool { return o.Name == n.Name }) {
		return
	}
	b.table.Networks = append(b.table.Networks, network.Net{Name: n.Name, Subnet: n.Subnet, Internal: n.Internal})
}

func (b *tableBuilder) spec(app, service string, release int) (*holdfast.Spec, bool) {
	r, ok := b.snap.Releases.Get(store.ReleaseKey(app, service, release))
	if !ok {
		return nil, false
	}
	return &r.Spec, true
}

func (b *tableBuilder) addReplica(id string, r *holdfast.Replica) {
	status, reported := b.snap.Statuses.Get(id)
	if reported && status.State.Ended() {
		return
	}
	spec, ok := b.spec(r.App, r.Service, r.Release)
	if !ok {
		return
	}
	app, ok := b.snap.Apps.Get(r.App)
	if !ok {
		return
	}
	peer := network.Peer{
		Replica: id, App: r.App, Service: r.Service, Slot: r.Slot, Hostname: hostnameOf(spec, r), Local: r.Node == b.node,
		Addrs: map[string]netip.Addr{}, Resolvers: resolvers(spec.DNS.Servers),
	}
	for key, addr := range r.Addresses {
		peer.Addrs[app.Networks[key].Name] = addr
	}
	if reported {
		peer.Ready = status.State == holdfast.Running && status.Ready && r.Desired == holdfast.Run
		peer.Leaving = r.Desired == holdfast.Stop || !status.State.Before(holdfast.Draining)
	}
	b.table.Endpoints = append(b.table.Endpoints, peer)
	if peer.Local && peer.Ready {
		b.addHostPorts(spec, r)
	}
}

func resolvers(servers []string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, s := range servers {
		if addr, err := netip.ParseAddr(s); err == nil {
			all = append(all, netip.AddrPortFrom(addr, 53))
		}
	}
	return all
}

func (b *tableBuilder) addHostPorts(spec *holdfast.Spec, r *holdfast.Replica) {
	to := primaryAddress(spec, r.Addresses)
	if !to.IsValid() {
		return
	}
	for _, p := range spec.Ports {
		if p.Mode == "host" {
			b.addHostPort(p, netip.AddrPortFrom(to, p.Target))
		}
	}
}

func (b *tableBuilder) addHostPort(p holdfast.Port, to netip.AddrPort) {
	ip, _ := netip.ParseAddr(p.HostIP)
	for i, h := range b.table.HostPorts {
		if h.Port == p.Published && h.Protocol == p.Protocol && h.HostIP == ip {
			b.table.HostPorts[i].To = append(h.To, to)
			return
		}
	}
	b.table.HostPorts = append(b.table.HostPorts, network.HostPort{HostIP: ip, Port: p.Published, Protocol: p.Protocol, To: []netip.AddrPort{to}})
}

func (b *tableBuilder) addService(s *holdfast.Service) {
	spec, ok := b.spec(s.App, s.Name, s.Release)
	if !ok {
		return
	}
	app, ok := b.snap.Apps.Get(s.App)
	if !ok {
		return
	}
	service := network.Service{App: s.App, Name: s.Name}
	for _, a := range spec.Networks {
		n := app.Networks[a.Network]
		if !n.Subnet.IsValid() {
			continue
		}
		service.Networks = append(service.Networks, network.ServiceNet{Network: n.Name, VIP: s.VIPs[a.Network], Aliases: a.Aliases})
	}
	b.table.Services = append(b.table.Services, service)
}
