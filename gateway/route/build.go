package route

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Build makes the table of the gateway on node self.
//
// A route or published port exists while the wanted release of its service has it, or a ready replica of another
// release does, so that neither a rollout nor its rollback takes one away too early. Each replica is reached on the port
// that its own release names for the route. Of two services that want the same route or port the first by name has it;
// the other is a Problem.
func Build(snap *store.Snapshot, self string) *Table {
	b := builder{
		snap:   snap,
		self:   self,
		byID:   map[string][]replica{},
		held:   map[string]*Backend{},
		byName: map[*holdfast.Spec]map[string]uint16{},
		table: &Table{
			Revision: snap.Revision,
			exact:    map[string]*paths{},
			wildcard: map[string]*paths{},
		},
	}
	b.replicas()
	for _, svc := range snap.Services.All("") {
		b.service(svc)
	}
	return b.finish()
}

type builder struct {
	snap   *store.Snapshot
	self   string
	byID   map[string][]replica // by app/service, sorted by ID
	held   map[string]*Backend  // who has a route, by its name
	byName map[*holdfast.Spec]map[string]uint16
	table  *Table
}

// replica is a replica with what is needed to reach it.
type replica struct {
	*holdfast.Replica
	phase Phase
	spec  *holdfast.Spec
}

func (b *builder) replicas() {
	for _, rep := range b.snap.Replicas.All("") {
		status, _ := b.snap.Statuses.Get(rep.ID)
		r := replica{Replica: rep, phase: phaseOf(rep, status), spec: b.spec(rep.App, rep.Service, rep.Release)}
		b.table.Replicas = append(b.table.Replicas, Replica{
			ID: rep.ID, App: rep.App, Service: rep.Service, Release: rep.Release, Phase: r.phase,
		})
		key := rep.App + "/" + rep.Service
		b.byID[key] = append(b.byID[key], r)
	}
}

func phaseOf(rep *holdfast.Replica, status *holdfast.Status) Phase {
	state := holdfast.State("")
	if status != nil {
		state = status.State
	}
	switch {
	case state.Ended():
		return Ended
	case rep.Desired != holdfast.Run || state == holdfast.Draining || state == holdfast.Stopping:
		return Draining
	case state == holdfast.Running && status.Ready:
		return Ready
	}
	return Waiting
}

func (b *builder) spec(app, service string, release int) *holdfast.Spec {
	rel, ok := b.snap.Releases.Get(fmt.Sprintf("%s/%s/%08d", app, service, release))
	if !ok {
		return nil
	}
	return &rel.Spec
}

// service adds the routes and ports of svc.
func (b *builder) service(svc *holdfast.Service) {
	replicas := b.byID[svc.App+"/"+svc.Name]
	for _, spec := range b.specs(svc, replicas) {
		for i := range spec.Routes {
			b.route(svc, &spec.Routes[i], replicas)
		}
		for _, p := range spec.Ports {
			if p.Mode == "ingress" && p.Published != 0 {
				b.port(svc, spec, p, replicas)
			}
		}
	}
}

// specs returns the wanted release's spec first, then those of other releases that have a ready replica, newest first.
func (b *builder) specs(svc *holdfast.Service, replicas []replica) []*holdfast.Spec {
	var numbers []int
	for _, r := range replicas {
		if r.phase == Ready && r.Release != svc.Release && !slices.Contains(numbers, r.Release) {
			numbers = append(numbers, r.Release)
		}
	}
	slices.SortFunc(numbers, func(a, b int) int { return cmp.Compare(b, a) })
	if !svc.Removing || slices.ContainsFunc(replicas, func(r replica) bool { return r.phase == Ready }) {
		numbers = append([]int{svc.Release}, numbers...)
	}
	var specs []*holdfast.Spec
	for _, n := range numbers {
		if spec := b.spec(svc.App, svc.Name, n); spec != nil {
			specs = append(specs, spec)
		}
	}
	return specs
}

func (b *builder) route(svc *holdfast.Service, spec *holdfast.Route, replicas []replica) {
	r, err := newRoute(spec)
	if err != nil {
		b.problem(svc, "route "+nameOf(spec), err.Error())
		return
	}
	if by := b.held[r.name]; by != nil {
		b.taken(svc, "route "+r.name, by)
		return
	}
	r.Backend = b.backend(svc, "route "+r.name, replicas, func(s *holdfast.Spec) uint16 { return b.routePorts(s)[r.name] })
	if spec.Retries != nil {
		r.Backend.RetryPercent = spec.Retries.Percent
	}
	b.held[r.name] = r.Backend
	b.table.Routes = append(b.table.Routes, r)
}

// routePorts returns the ports of spec's routes by the routes' names.
func (b *builder) routePorts(spec *holdfast.Spec) map[string]uint16 {
	ports, ok := b.byName[spec]
	if !ok {
		ports = make(map[string]uint16, len(spec.Routes))
		for i := range spec.Routes {
			ports[nameOf(&spec.Routes[i])] = spec.Routes[i].Port
		}
		b.byName[spec] = ports
	}
	return ports
}

func (b *builder) port(svc *holdfast.Service, spec *holdfast.Spec, p holdfast.Port, replicas []replica) {
	listen, err := listenOf(p)
	if err != nil {
		b.problem(svc, fmt.Sprintf("port %s:%d", p.HostIP, p.Published), err.Error())
		return
	}
	for _, other := range b.table.Ports {
		if other.Listen == listen {
			b.taken(svc, "port "+listen.String(), other.Backend)
			return
		}
	}
	backend := b.backend(svc, "port "+listen.String(), replicas, func(s *holdfast.Spec) uint16 {
		return publishedPort(s, listen)
	})
	port := &Port{Listen: listen, Backend: backend}
	if speaksHTTP(spec, p) {
		port.HTTP = &Route{Index: -1, Path: "/", Backend: backend, name: "*/"}
	}
	b.table.Ports = append(b.table.Ports, port)
}

// speaksHTTP reports whether what comes in on p is HTTP: it says so, or a route of the service goes to the same port.
func speaksHTTP(spec *holdfast.Spec, p holdfast.Port) bool {
	if protocolOf(p) != "tcp" {
		return false
	}
	if p.AppProtocol != "" {
		return strings.EqualFold(p.AppProtocol, "http")
	}
	return slices.ContainsFunc(spec.Routes, func(r holdfast.Route) bool { return r.Port == p.Target })
}

func protocolOf(p holdfast.Port) string { return cmp.Or(p.Protocol, "tcp") }

func listenOf(p holdfast.Port) (Listen, error) {
	addr := netip.IPv4Unspecified()
	if p.HostIP != "" {
		var err error
		if addr, err = netip.ParseAddr(p.HostIP); err != nil {
			return Listen{}, fmt.Errorf("parse address: %w", err)
		}
	}
	protocol := protocolOf(p)
	if protocol != "tcp" && protocol != "udp" {
		return Listen{}, fmt.Errorf("protocol %q is neither tcp nor udp", protocol)
	}
	return Listen{Protocol: protocol, Addr: netip.AddrPortFrom(addr, p.Published)}, nil
}

func publishedPort(spec *holdfast.Spec, want Listen) uint16 {
	for _, p := range spec.Ports {
		if l, err := listenOf(p); err == nil && l == want && p.Mode == "ingress" {
			return p.Target
		}
	}
	return 0
}

// taken records that svc does not get what, unless it has it itself through another release.
func (b *builder) taken(svc *holdfast.Service, what string, by *Backend) {
	if by.App == svc.App && by.Service == svc.Name {
		return
	}
	b.problem(svc, what, fmt.Sprintf("taken by %s/%s", by.App, by.Service))
}

func (b *builder) problem(svc *holdfast.Service, what, why string) {
	b.table.Problems = append(b.table.Problems, Problem{App: svc.App, Service: svc.Name, What: what, Why: why})
}

func (b *builder) backend(svc *holdfast.Service, what string, replicas []replica, port func(*holdfast.Spec) uint16) *Backend {
	be := &Backend{Key: svc.App + "/" + svc.Name + " " + what, App: svc.App, Service: svc.Name, Idle: b.idle(svc)}
	for _, r := range replicas {
		if r.phase != Ready || r.spec == nil {
			continue
		}
		if n, addr := port(r.spec), b.address(r); n != 0 && addr.IsValid() {
			be.Endpoints = append(be.Endpoints, Endpoint{
				Replica: r.ID, Release: r.Release, Addr: netip.AddrPortFrom(addr, n),
			})
		}
	}
	b.table.Backends = append(b.table.Backends, be)
	return be
}

func (b *builder) idle(svc *holdfast.Service) string {
	spec := b.spec(svc.App, svc.Name, svc.Release)
	switch {
	case svc.Removing:
		return "the service is being removed"
	case svc.Scale != nil && *svc.Scale == 0:
		return "the service is scaled to 0"
	case svc.Scale == nil && spec != nil && spec.Mode == holdfast.Replicated && spec.Replicas == 0:
		return "the service has 0 replicas"
	}
	return ""
}

func (b *builder) finish() *Table {
	t := b.table
	slices.SortFunc(t.Backends, func(a, b *Backend) int { return cmp.Compare(a.Key, b.Key) })
	for i, be := range t.Backends {
		be.Index = i
	}
	slices.SortFunc(t.Routes, func(a, b *Route) int { return cmp.Or(cmp.Compare(a.Host, b.Host), before(a, b)) })
	for i, r := range t.Routes {
		r.Index = i
	}
	t.index()
	slices.SortFunc(t.Ports, func(a, b *Port) int {
		return cmp.Or(cmp.Compare(a.Listen.Protocol, b.Listen.Protocol), a.Listen.Addr.Compare(b.Listen.Addr))
	})
	return t
}
