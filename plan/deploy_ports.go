package plan

import (
	"fmt"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Published ports that a file leaves open are chosen from this range.
const firstOpenPort, lastOpenPort = 30000, 32767

// portTable knows which service publishes which port.
type portTable map[portKey][]publisher

type portKey struct {
	number   uint16
	protocol string
}

type publisher struct {
	app, service string
	port         holdfast.Port
}

// publishedPorts returns the ports of all services but those that d replaces.
func publishedPorts(snap *store.Snapshot, d *holdfast.Deployment) portTable {
	table := make(portTable)
	named := make(map[string]bool, len(d.Services))
	for _, spec := range d.Services {
		named[store.ServiceKey(d.Name, spec.Name)] = true
	}
	for key, s := range snap.Services.All("") {
		if named[key] || s.App == d.Name && d.RemoveOrphans {
			continue
		}
		if r, ok := snap.Releases.Get(store.ReleaseKey(s.App, s.Name, s.Release)); ok {
			for _, p := range r.Spec.Ports {
				table.add(publisher{s.App, s.Name, p})
			}
		}
	}
	for _, spec := range d.Services {
		for _, p := range spec.Ports {
			if p.Published != 0 {
				table.add(publisher{d.Name, spec.Name, p})
			}
		}
	}
	return table
}

func (t portTable) add(p publisher) {
	key := portKey{p.port.Published, p.port.Protocol}
	t[key] = append(t[key], p)
}

// resolve returns spec's ports with the open ones chosen, those of the release before first; or ErrConflict when
// another service publishes one of them.
func (t portTable) resolve(app string, spec *holdfast.Spec, current *holdfast.Release) ([]holdfast.Port, error) {
	out := make([]holdfast.Port, len(spec.Ports))
	for i, p := range spec.Ports {
		if p.Published == 0 {
			var err error
			if p.Published, err = t.choose(p, current); err != nil {
				return nil, err
			}
			t.add(publisher{app, spec.Name, p})
		}
		for _, other := range t[portKey{p.Published, p.Protocol}] {
			if (other.app != app || other.service != spec.Name) && clash(other.port, p) {
				return nil, holdfast.Errorf(holdfast.ErrConflict, "port %d/%s is published by service %s of app %s already",
					p.Published, p.Protocol, other.service, other.app)
			}
		}
		out[i] = p
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// clash reports whether two services cannot both publish their port. Ports on nodes alone are left to the placement.
func clash(a, b holdfast.Port) bool {
	if a.HostIP != "" && b.HostIP != "" && a.HostIP != b.HostIP {
		return false
	}
	return a.Mode != "host" || b.Mode != "host"
}

func (t portTable) choose(p holdfast.Port, current *holdfast.Release) (uint16, error) {
	if current != nil {
		for _, was := range current.Spec.Ports {
			if was.Target == p.Target && was.Protocol == p.Protocol && was.Published >= firstOpenPort && len(t[portKey{was.Published, p.Protocol}]) == 0 {
				return was.Published, nil
			}
		}
	}
	for n := uint16(firstOpenPort); n <= lastOpenPort; n++ {
		if len(t[portKey{n, p.Protocol}]) == 0 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("choose a port to publish %d/%s on: %w", p.Target, p.Protocol, holdfast.ErrUnavailable)
}
