package api

import (
	"cmp"
	"slices"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// viewApp reads one app out of a snapshot.
func viewApp(s *store.Snapshot, name string) (AppView, error) {
	app, ok := s.Apps.Get(name)
	if !ok {
		return AppView{}, notFound("app", name, keysOf(s.Apps))
	}
	v := AppView{App: *app, Revision: s.Revision, Services: []ServiceView{}}
	replicas := replicasOf(s, name)
	for _, svc := range s.Services.All(name + "/") {
		v.Services = append(v.Services, viewService(s, svc, replicas[svc.Name]))
	}
	return v, nil
}

func viewApps(s *store.Snapshot) []AppView {
	out := []AppView{}
	for name := range s.Apps.All("") {
		if v, err := viewApp(s, name); err == nil {
			out = append(out, v)
		}
	}
	return out
}

// viewOneService reads one service of an app.
func viewOneService(s *store.Snapshot, app, name string) (ServiceView, error) {
	v, err := viewApp(s, app)
	if err != nil {
		return ServiceView{}, err
	}
	names := make([]string, len(v.Services))
	for i, svc := range v.Services {
		if svc.Name == name {
			return svc, nil
		}
		names[i] = svc.Name
	}
	return ServiceView{}, notFound("service", name, names)
}

// explain adds to services that clients reach through the gateway what keeps them from it.
func explain(services []ServiceView, problems []Problem) {
	for i := range services {
		s := &services[i]
		for _, p := range problems {
			mine := p.App == s.App && p.Service == s.Name
			if mine || p.App == "" && behindGateway(s) {
				s.Problems = append(s.Problems, p)
			}
		}
	}
}

func behindGateway(s *ServiceView) bool {
	return len(s.Routes) > 0 || slices.ContainsFunc(s.Ports, func(p holdfast.Port) bool { return p.Mode == "ingress" })
}

func viewService(s *store.Snapshot, svc *holdfast.Service, replicas []ReplicaView) ServiceView {
	v := ServiceView{Service: *svc, Replicas: replicas}
	if v.Replicas == nil {
		v.Replicas = []ReplicaView{}
	}
	if rel, ok := s.Releases.Get(store.ReleaseKey(svc.App, svc.Name, svc.Release)); ok {
		spec := &rel.Spec
		v.Kind, v.KindReason, v.Mode, v.Image = spec.Kind, spec.KindReason, spec.Mode, spec.Image
		v.Ports, v.Routes, v.Triggers = spec.Ports, spec.Routes, spec.Triggers
		v.Want = want(svc, spec, s.Nodes.Len())
		v.Finished = finished(svc, spec, replicas)
	}
	for i := range replicas {
		r := &v.Replicas[i]
		r.Ports = v.Ports
		if r.Status.Ready && r.Desired == holdfast.Run {
			v.Ready++
			if r.Release == svc.Release {
				v.Updated++
			}
		}
	}
	return v
}

// finished counts the replicas of the wanted release that ended well, where that is the end of it.
func finished(svc *holdfast.Service, spec *holdfast.Spec, replicas []ReplicaView) int {
	n := 0
	for _, r := range replicas {
		if r.Release == svc.Release && r.Desired == holdfast.Run && r.Status.State == holdfast.Stopped && spec.Restart.Condition != "any" {
			n++
		}
	}
	return n
}

// want is how many replicas the service is meant to have; a job has none until it is triggered.
func want(svc *holdfast.Service, spec *holdfast.Spec, nodes int) int {
	switch {
	case svc.Removing || spec.Mode == holdfast.Job:
		return 0
	case spec.Mode == holdfast.Global:
		return nodes
	case svc.Scale != nil:
		return *svc.Scale
	}
	return spec.Replicas
}

// replicasOf groups an app's replicas by service, each by slot and then by creation.
func replicasOf(s *store.Snapshot, app string) map[string][]ReplicaView {
	out := map[string][]ReplicaView{}
	for _, r := range s.Replicas.All("") {
		if r.App == app {
			out[r.Service] = append(out[r.Service], viewReplica(s, r))
		}
	}
	for _, list := range out {
		slices.SortStableFunc(list, compareReplicas)
	}
	return out
}

func compareReplicas(a, b ReplicaView) int {
	return cmp.Or(cmp.Compare(a.Slot, b.Slot), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
}

func viewReplica(s *store.Snapshot, r *holdfast.Replica) ReplicaView {
	v := ReplicaView{Replica: *r, Status: holdfast.Status{ID: r.ID, Node: r.Node}}
	if st, ok := s.Statuses.Get(r.ID); ok {
		v.Status = *st
	}
	for _, d := range s.Drains.All(r.ID + "/") {
		v.InFlight += d.InFlight
	}
	return v
}

// viewReplicas lists replicas of an app, or of all for "", and of a service, or of all for "".
func viewReplicas(s *store.Snapshot, app, service string, ended bool) []ReplicaView {
	out := []ReplicaView{}
	for _, r := range s.Replicas.All("") {
		if app != "" && r.App != app || service != "" && r.Service != service {
			continue
		}
		if v := viewReplica(s, r); ended || !v.Status.State.Ended() {
			out = append(out, v)
		}
	}
	slices.SortStableFunc(out, func(a, b ReplicaView) int {
		return cmp.Or(cmp.Compare(a.App, b.App), cmp.Compare(a.Service, b.Service), compareReplicas(a, b))
	})
	return out
}

// viewReleases lists a service's releases, newest first.
func viewReleases(s *store.Snapshot, app, service string) ([]holdfast.Release, error) {
	if _, err := viewOneService(s, app, service); err != nil {
		return nil, err
	}
	out := []holdfast.Release{}
	for _, r := range s.Releases.All(app + "/" + service + "/") {
		out = append(out, *r)
	}
	slices.Reverse(out)
	return out, nil
}

// viewRoutes lists all routes, by host, then path with the longest first.
func viewRoutes(s *store.Snapshot) []RouteView {
	out := []RouteView{}
	for _, app := range viewApps(s) {
		for _, svc := range app.Services {
			for _, r := range svc.Routes {
				out = append(out, RouteView{App: app.Name, Service: svc.Name, Route: r, Ready: svc.Ready})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b RouteView) int {
		return cmp.Or(cmp.Compare(a.Route.Host, b.Route.Host), -cmp.Compare(len(a.Route.PathPrefix), len(b.Route.PathPrefix)))
	})
	return out
}

func keysOf[T any](t store.Table[T]) []string {
	var keys []string
	for k := range t.All("") {
		keys = append(keys, k)
	}
	return keys
}
