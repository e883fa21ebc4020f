package compose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

// checkNames checks what the merged project names its services and jobs.
func (l *loading) checkNames() {
	for name := range l.project.AllJobs() {
		_, on := l.project.Services[name]
		_, off := l.project.DisabledServices[name]
		if on || off {
			l.invalid(keyPath{"jobs", name}, "", "a service has this name already")
		}
	}
	if len(l.project.AllServices()) == 0 && len(l.project.AllJobs()) == 0 && len(l.problems) == 0 {
		l.problems = append(l.problems, Problem{
			File: l.files.docs[0].name, Kind: holdfast.ErrInvalid,
			Reason: "no services: write at least one under the top-level key services",
		})
	}
	lower := map[string]string{}
	for _, name := range sortedKeys(l.project.Services) {
		if other, ok := lower[strings.ToLower(name)]; ok {
			l.invalid(keyPath{"services", name}, "", "differs from service %s only by case, which DNS does not see", other)
		}
		lower[strings.ToLower(name)] = name
		if len(name) > 63 {
			l.invalid(keyPath{"services", name}, "", "a service's name is a DNS label: at most 63 letters")
		}
	}
}

// checkTogether checks what entries say of each other, before they are converted.
func (l *loading) checkTogether(all []*entry) {
	by := map[string]*entry{}
	for _, e := range all {
		by[e.name] = e
	}
	for _, e := range all {
		for _, name := range sortedKeys(e.c.DependsOn) {
			e.checkDependency(name, e.c.DependsOn[name], by[name])
		}
		e.links()
	}
	for _, cycle := range cycles(all) {
		e := by[cycle[0]]
		e.bad(at("depends_on"), "waits for itself: %s", strings.Join(append(cycle, cycle[0]), " → "))
	}
}

func (e *entry) checkDependency(name string, dep types.ServiceDependency, other *entry) {
	where := at("depends_on", name)
	if !e.sets(where...) {
		i := slices.IndexFunc(e.c.Links, func(text string) bool { return named(text, name) })
		if i < 0 {
			return // implied by a key that is checked by itself
		}
		where = at("links", i)
	}
	if other == nil {
		_, service := e.project.DisabledServices[name]
		_, job := e.project.DisabledJobs[name]
		switch {
		case !dep.Required:
		case service || job:
			e.bad(where, "%s is in a profile that is not active: activate it with --profile, or add required: false", name)
		default:
			names := append(sortedKeys(e.project.AllServices()), sortedKeys(e.project.AllJobs())...)
			e.bad(where, "no service %q%s", name, didYouMean(name, names))
		}
		return
	}
	switch {
	case dep.Condition == types.ServiceConditionCompletedSuccessfully:
		other.oneShot = true
	case dep.Condition == types.ServiceConditionHealthy && !other.hasHealth():
		e.remark(append(where, "condition"), "%s has no health check: it counts as healthy once it runs", name)
	}
	if other.job && !e.job {
		e.bad(where, "%s is a job, and a service cannot wait for a job: make it a service with restart: on-failure", name)
	}
}

func (e *entry) hasHealth() bool {
	if h := e.c.HealthCheck; h != nil && !h.Disable {
		return true
	}
	_, ok := lookup(e.c.Extensions["x-holdfast"], keyPath{"health", "readiness"})
	return ok
}

// links gives services the names that others link to them by.
func (e *entry) links() {
	for i, text := range e.c.Links {
		name, alias, _ := strings.Cut(text, ":")
		if _, ok := e.project.Services[name]; !ok {
			continue // checkDependency complains
		}
		if alias == "" || alias == name {
			continue
		}
		if !validHostname(alias) {
			e.badItem(at("links", i), text, "%q is not a host name", alias)
		}
		e.linked = append(e.linked, link{name, alias})
		e.note(e.at.at("links", i), text, "%s is known as %s to all services on its networks, not to this one alone", name, alias)
	}
}

// link is a name that a service is to be known by.
type link struct{ service, alias string }

// cycles returns the circles of depends_on, each once, from its first name on.
func cycles(all []*entry) [][]string {
	deps := map[string][]string{}
	for _, e := range all {
		deps[e.name] = sortedKeys(e.c.DependsOn)
	}
	var out [][]string
	state := map[string]int{}
	var trail []string
	var visit func(name string)
	visit = func(name string) {
		state[name] = 1
		trail = append(trail, name)
		for _, dep := range deps[name] {
			switch state[dep] {
			case 0:
				visit(dep)
			case 1:
				out = append(out, slices.Clone(trail[slices.Index(trail, dep):]))
			}
		}
		trail = trail[:len(trail)-1]
		state[name] = 2
	}
	for _, e := range all {
		if state[e.name] == 0 {
			visit(e.name)
		}
	}
	return out
}

// checkConverted checks the Specs against each other.
func (l *loading) checkConverted(all []*entry) {
	names := map[string]*entry{}
	for _, e := range all {
		names[e.name] = e
	}
	for _, e := range all {
		for _, ln := range e.linked {
			if other := names[ln.service]; other != nil {
				other.addAlias(ln.alias)
			}
		}
		e.checkScale(names)
	}
	l.checkPorts(all)
	l.checkRoutes(all)
	l.checkAddresses(all)
}

// checkScale checks what cannot be had more than once.
func (e *entry) checkScale(names map[string]*entry) {
	key := at("deploy", "replicas")
	if e.sets("scale") {
		key = at("scale")
	} else if e.spec.Mode == holdfast.Global {
		key = at("deploy", "mode")
	}
	e.cannotShare()
	if !e.several() {
		return
	}
	if name := e.c.ContainerName; name != "" {
		e.bad(at("container_name"), "is one container's name, but there may be several replicas: take it out, or use networks.*.aliases")
	}
	for _, a := range e.spec.Networks {
		if a.IPv4.IsValid() {
			e.bad(at("networks", a.Network, "ipv4_address"), "is one replica's address, but there may be several")
		}
	}
	if e.spec.NetworkMode == "host" && e.spec.Mode != holdfast.Global {
		e.remark(key, "each replica needs a node of its own: with network_mode host they would want the same ports")
	}
	if target, ok := strings.CutPrefix(e.spec.NetworkMode, "service:"); ok && names[target] != nil &&
		names[target].spec.Replicas != e.spec.Replicas {
		e.bad(at("network_mode"), "%s has %d replicas and this has %d: each joins the one of its number", target,
			names[target].spec.Replicas, e.spec.Replicas)
	}
}

// checkPorts refuses two services on one published port.
func (l *loading) checkPorts(all []*entry) {
	type taken struct {
		e    *entry
		port holdfast.Port
	}
	by := map[string][]taken{}
	for _, e := range all {
		for i, p := range e.spec.Ports {
			if p.Published == 0 {
				continue
			}
			key := fmt.Sprint(p.Published, "/", p.Protocol)
			for _, t := range by[key] {
				if overlap(t.port.HostIP, p.HostIP) {
					e.badItem(at("ports", i), fmt.Sprint(p.Published), "port %s is published by %s already", key, t.e.at)
				}
			}
			by[key] = append(by[key], taken{e, p})
		}
	}
}

func overlap(a, b string) bool {
	all := func(ip string) bool { return ip == "" || addr(ip) == netip.IPv4Unspecified() }
	return all(a) || all(b) || a == b
}

// checkRoutes refuses two services on one route.
func (l *loading) checkRoutes(all []*entry) {
	by := map[string]*entry{}
	for _, e := range all {
		for _, r := range e.spec.Routes {
			if other, ok := by[routeName(r)]; ok && other != e {
				e.bad(at("x-holdfast", "route"), "%s is routed to %s already", routeName(r), other.at)
			}
			by[routeName(r)] = e
		}
	}
}

// checkAddresses refuses one fixed address for two services.
func (l *loading) checkAddresses(all []*entry) {
	by := map[string]*entry{}
	for _, e := range all {
		for _, a := range e.spec.Networks {
			if !a.IPv4.IsValid() {
				continue
			}
			key := a.Network + " " + a.IPv4.String()
			if other, ok := by[key]; ok {
				e.bad(at("networks", a.Network, "ipv4_address"), "%s has this address already", other.at)
			}
			by[key] = e
		}
	}
}
