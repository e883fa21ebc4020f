// Package upstream owns what the gateway knows of replicas while it runs: which may be picked, what is in flight to each,
// how quick it is, which refuse connections, who waits for one to become ready, and what was measured. The data paths
// share it; all of it survives a change of the routing table.
//
// May import only gateway/route and the standard library.
package upstream

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast/holdfast/gateway/route"
)

// Options bound a Set. Zero fields take their defaults.
type Options struct {
	HoldMax   int              // requests held per backend; 1024
	HoldBytes int64            // bytes held in all; 64 MiB
	Now       func() time.Time // time.Now
}

// heldFloor is what a held request counts at least: its connection's buffers.
const heldFloor = 16 << 10

// Set holds the live state of all backends. Safe for concurrent use.
type Set struct {
	opt   Options
	start time.Time
	view  atomic.Pointer[View]
	held  atomic.Int64 // bytes

	mu        sync.Mutex
	backends  map[string]*Backend
	endpoints map[endpointKey]*Endpoint
	replicas  map[string]*Replica
	watchers  map[*func()]struct{}
}

type endpointKey struct {
	replica string
	addr    netip.AddrPort
}

// View is a table with the live state of what it names. It never changes; the state does.
type View struct {
	Table    *route.Table
	Backends []*Backend // by route.Backend.Index
	Routes   []*Traffic // by route.Route.Index
	routes   map[string]*Traffic
}

// Backend returns the live state of the backend that answers r.
func (v *View) Backend(r *route.Route) *Backend { return v.Backends[r.Backend.Index] }

// Traffic returns what was measured of r; nil for the route of a published port.
func (v *View) Traffic(r *route.Route) *Traffic {
	if r.Index < 0 {
		return nil
	}
	return v.Routes[r.Index]
}

// New returns a Set with an empty table.
func New(opt Options) *Set {
	opt.HoldMax = cmp.Or(opt.HoldMax, 1024)
	opt.HoldBytes = cmp.Or(opt.HoldBytes, 64<<20)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Set{
		opt:       opt,
		start:     opt.Now(),
		backends:  map[string]*Backend{},
		endpoints: map[endpointKey]*Endpoint{},
		replicas:  map[string]*Replica{},
		watchers:  map[*func()]struct{}{},
	}
	s.view.Store(&View{Table: &route.Table{}})
	return s
}

// View returns the newest view.
func (s *Set) View() *View { return s.view.Load() }

// Now is the time since the Set was made: what Pick and Eject go by.
func (s *Set) Now() time.Duration { return s.opt.Now().Sub(s.start) }

// Watch calls f after every Apply until stop is called, on the goroutine that applies. f must neither block nor call the
// Set's locking methods.
func (s *Set) Watch(f func()) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[&f] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, &f)
	}
}

// Apply makes t the table. From its return on, no new request goes to a replica that is not Ready in t, what is idle to
// a replica that left is being closed, and what is in flight to one that ended or is gone is being severed.
func (s *Set) Apply(t *route.Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applyReplicas(t)
	view := &View{Table: t, Backends: make([]*Backend, len(t.Backends))}
	for i, b := range t.Backends {
		view.Backends[i] = s.applyBackend(b)
	}
	view.measure(s.view.Load(), t)
	s.view.Store(view)
	s.forget(t)
	for _, b := range s.backends {
		b.wakeAll()
	}
	for f := range s.watchers {
		(*f)()
	}
}

func (v *View) measure(old *View, t *route.Table) {
	v.Routes = make([]*Traffic, len(t.Routes))
	v.routes = make(map[string]*Traffic, len(t.Routes))
	for i, r := range t.Routes {
		key := r.Backend.Key
		if v.Routes[i] = old.routes[key]; v.Routes[i] == nil {
			v.Routes[i] = &Traffic{}
		}
		v.routes[key] = v.Routes[i]
	}
}

func (s *Set) applyReplicas(t *route.Table) {
	seen := make(map[string]bool, len(t.Replicas))
	for _, r := range t.Replicas {
		seen[r.ID] = true
		rep := s.replicas[r.ID]
		if rep == nil {
			rep = newReplica(r)
			s.replicas[r.ID] = rep
		}
		rep.enter(r.Phase)
	}
	for id, rep := range s.replicas {
		if !seen[id] {
			rep.enter(route.Ended)
			delete(s.replicas, id)
		}
	}
}

func (s *Set) applyBackend(b *route.Backend) *Backend {
	live := s.backends[b.Key]
	if live == nil {
		live = &Backend{set: s, key: b.Key}
		live.budget.tokens.Store(budgetFull)
		s.backends[b.Key] = live
	}
	endpoints := make([]*Endpoint, 0, len(b.Endpoints))
	for _, e := range b.Endpoints {
		endpoints = append(endpoints, s.endpoint(b, e))
	}
	live.desc.Store(b)
	live.endpoints.Store(&endpoints)
	return live
}

func (s *Set) endpoint(b *route.Backend, e route.Endpoint) *Endpoint {
	key := endpointKey{replica: e.Replica, addr: e.Addr}
	ep := s.endpoints[key]
	if ep == nil {
		ep = &Endpoint{App: b.App, Service: b.Service, Release: e.Release, Addr: e.Addr, Replica: s.replicas[e.Replica], set: s}
		s.endpoints[key] = ep
	}
	return ep
}

// forget drops the state of backends that the table no longer has, and of endpoints whose replica is gone.
func (s *Set) forget(t *route.Table) {
	keep := make(map[string]bool, len(t.Backends))
	for _, b := range t.Backends {
		keep[b.Key] = true
	}
	for key, b := range s.backends {
		if !keep[key] {
			b.endpoints.Store(nil)
			b.removed.Store(true)
			b.wakeAll()
			delete(s.backends, key)
		}
	}
	for key := range s.endpoints {
		if s.replicas[key.replica] == nil {
			delete(s.endpoints, key)
		}
	}
}

// Replica returns the live state of a replica, or nil.
func (s *Set) Replica(id string) *Replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replicas[id]
}

// Endpoints returns all endpoints of replicas that are not gone, sorted by replica and address, for reading.
func (s *Set) Endpoints() []*Endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Endpoint, 0, len(s.endpoints))
	for _, ep := range s.endpoints {
		all = append(all, ep)
	}
	slices.SortFunc(all, func(a, b *Endpoint) int {
		return cmp.Or(cmp.Compare(a.Replica.ID, b.Replica.ID), a.Addr.Compare(b.Addr))
	})
	return all
}

// wake wakes everyone who waits for an endpoint: one may be usable again.
func (s *Set) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.backends {
		b.wakeAll()
	}
}

// Replica is the live state of one replica, over all its ports.
type Replica struct {
	ID      string
	App     string
	Service string
	Release int

	inFlight atomic.Int64
	ready    atomic.Bool
	leaving  context.Context // done when nothing new goes to it, for ever
	leave    context.CancelFunc
	gone     context.Context // done when its processes are gone
	sever    context.CancelCauseFunc
	changed  atomic.Pointer[func(int)]
}

// ErrGone is the cause of Replica.Gone.
var ErrGone error = goneError{}

type goneError struct{}

func (goneError) Error() string { return "the replica is gone" }

func newReplica(r route.Replica) *Replica {
	rep := &Replica{ID: r.ID, App: r.App, Service: r.Service, Release: r.Release}
	rep.leaving, rep.leave = context.WithCancel(context.Background())
	rep.gone, rep.sever = context.WithCancelCause(context.Background())
	return rep
}

func (r *Replica) enter(p route.Phase) {
	r.ready.Store(p == route.Ready)
	if p >= route.Draining {
		r.leave()
	}
	if p == route.Ended {
		r.sever(ErrGone)
	}
}

// InFlight returns how many requests, connections and datagram flows the replica is working on. After Leaving is done
// it only falls.
func (r *Replica) InFlight() int { return int(r.inFlight.Load()) }

// Ready reports whether the replica may get something new.
func (r *Replica) Ready() bool { return r.ready.Load() }

// Leaving is done as soon as the replica is draining: it gets nothing new, and idle connections to it are to be closed.
func (r *Replica) Leaving() context.Context { return r.leaving }

// Gone is done when the replica's processes are gone: what is in flight to it has failed.
func (r *Replica) Gone() context.Context { return r.gone }

// OnFall calls f with the new number whenever less is in flight while the replica is leaving. f must not block.
func (r *Replica) OnFall(f func(inFlight int)) { r.changed.Store(&f) }

func (r *Replica) release() {
	n := r.inFlight.Add(-1)
	if r.leaving.Err() == nil {
		return
	}
	if f := r.changed.Load(); f != nil {
		(*f)(int(n))
	}
}
