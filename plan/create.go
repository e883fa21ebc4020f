package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan/place"
	"github.com/holdfast/holdfast/store"
)

// create makes a replica of release in slot s, and reports false when there is no place for it.
func (w *work) create(s *slot, release int, why string) bool {
	rel := w.release(&w.svc, release)
	choice := w.place(rel, s)
	if choice.Node == "" {
		w.blocked = choice.Reason
		return false
	}
	app, _ := w.snap.Apps.Get(w.svc.App)
	addrs, err := w.seen().addresses.allot(app, &rel.Spec)
	if err != nil {
		w.blocked = err.Error()
		return false
	}
	r := w.see(&holdfast.Replica{
		ID: w.newID(s.number), App: w.svc.App, Service: w.svc.Name, Release: release, Slot: s.number, Node: choice.Node,
		Desired: holdfast.Run, Addresses: addrs, Reason: why, Created: w.now,
	})
	w.all = append(w.all, r)
	w.view.add(r.Replica, &rel.Spec)
	w.view.settle(w.snap, r.Replica, &rel.Spec)
	if release == w.svc.Release {
		s.news = append(s.news, r)
	} else {
		s.olds = append(s.olds, r)
	}
	a := w.replicaAction(r, holdfast.ReplicaCreated, why, "create replica %s of release %d on node %s", r.ID, release, r.Node)
	a.uses = true
	a.depends = []any{
		&holdfast.Service{App: w.svc.App, Name: w.svc.Name}, &holdfast.App{Name: w.svc.App}, &holdfast.Node{ID: r.Node},
	}
	w.add(a)
	return true
}

const idLetters = "23456789abcdefghjkmnpqrstvwxyz"

// newID returns an ID that no replica has.
func (w *work) newID(slot int) string {
	for {
		var tail [6]byte
		for i := range tail {
			tail[i] = idLetters[w.random.IntN(len(idLetters))]
		}
		id := fmt.Sprintf("%s-%s-%d-%s", w.svc.App, w.svc.Name, slot, tail[:])
		if _, taken := w.snap.Replicas.Get(id); !taken && !slices.ContainsFunc(w.all, func(r *replica) bool { return r.ID == id }) {
			return id
		}
	}
}

// view is what placing replicas needs to know of the whole cluster.
type view struct {
	addresses *addresses
	nodes     []place.Node
	byID      map[string]*place.Node
	own       map[string]map[string]int // replicas by service key and node
	homes     map[string]string         // node of each local volume, by the volume's name
	settled   map[string]time.Time      // when the replica was made that a volume's home is known from
}

// seen returns the view, made on the first call.
func (p *planner) seen() *view {
	if p.view != nil {
		return p.view
	}
	v := &view{
		addresses: usedAddresses(p.snap), byID: make(map[string]*place.Node),
		own: make(map[string]map[string]int), homes: make(map[string]string), settled: make(map[string]time.Time),
	}
	for _, n := range p.snap.Nodes.All("") {
		v.nodes = append(v.nodes, place.Node{Node: n, Ports: make(map[holdfast.Port]bool)})
	}
	for i := range v.nodes {
		v.byID[v.nodes[i].ID] = &v.nodes[i]
	}
	specs := make(map[releaseID]*holdfast.Spec)
	for _, r := range p.snap.Replicas.All("") {
		id := releaseID{r.App, r.Service, r.Release}
		spec, known := specs[id]
		if !known {
			if rel, ok := p.snap.Releases.Get(store.ReleaseKey(r.App, r.Service, r.Release)); ok {
				spec = &rel.Spec
			}
			specs[id] = spec
		}
		if spec == nil {
			continue
		}
		v.settle(p.snap, r, spec)
		if st, ok := p.snap.Statuses.Get(r.ID); !ok || !st.State.Ended() {
			v.add(r, spec)
		}
	}
	p.view = v
	return v
}

type releaseID struct {
	app, service string
	number       int
}

// settle notes where r's volumes live: with the newest replica that had them.
func (v *view) settle(snap *store.Snapshot, r *holdfast.Replica, spec *holdfast.Spec) {
	for _, volume := range localVolumes(snap, r.App, spec) {
		if at, ok := v.settled[volume]; !ok || r.Created.After(at) {
			v.settled[volume], v.homes[volume] = r.Created, r.Node
		}
	}
}

// localVolumes returns the names of the volumes of spec that live on one node.
func localVolumes(snap *store.Snapshot, appName string, spec *holdfast.Spec) []string {
	var out []string
	for _, m := range spec.Mounts {
		if m.Type != "volume" || m.Source == "" {
			continue
		}
		app, ok := snap.Apps.Get(appName)
		if !ok {
			continue
		}
		vol := app.Volumes[m.Source]
		remote := slices.Contains([]string{"nfs", "nfs4", "cifs", "smb3"}, vol.DriverOpts["type"])
		if !remote {
			out = append(out, cmp.Or(vol.Name, appName+"_"+m.Source))
		}
	}
	return out
}

// add counts r, which has not ended, on its node.
func (v *view) add(r *holdfast.Replica, spec *holdfast.Spec) {
	n := v.byID[r.Node]
	if n == nil {
		return
	}
	n.Replicas++
	n.CPUs += spec.Resources.ReservedCPUs
	n.MemBytes += spec.Resources.ReservedMemBytes
	for _, p := range spec.Ports {
		if p.Mode == "host" {
			n.Ports[place.HostPort(p)] = true
		}
	}
	key := store.ServiceKey(r.App, r.Service)
	if v.own[key] == nil {
		v.own[key] = make(map[string]int)
	}
	v.own[key][r.Node]++
}

// place chooses a node for a replica of rel in slot s. What the slot's present replicas hold does not count: the new one
// takes over from them.
func (w *work) place(rel *holdfast.Release, s *slot) place.Choice {
	v := w.seen()
	want := place.Want{Spec: &rel.Spec}
	switch {
	case s.pin != "":
		want.Pin, want.PinReason = s.pin, "the node of slot "+fmt.Sprint(s.number)
	default:
		for _, volume := range localVolumes(w.snap, w.svc.App, &rel.Spec) {
			if home := v.homes[volume]; home != "" {
				want.Pin, want.PinReason = home, "the node that has volume "+volume
			}
		}
	}
	if other, ok := strings.CutPrefix(rel.Spec.NetworkMode, "service:"); ok {
		node := w.nodeOf(other, s)
		if node == "" {
			return place.Choice{Reason: "waits for a replica of " + other + ", whose network it shares"}
		}
		want.Pin, want.PinReason = node, "the node of "+other+", whose network it shares"
	}
	return place.Choose(w.candidates(v, s), want)
}

// candidates returns the nodes as the placement in slot s is to see them.
func (w *work) candidates(v *view, s *slot) []place.Node {
	own := v.own[store.ServiceKey(w.svc.App, w.svc.Name)]
	failures := w.failuresByNode()
	out := slices.Clone(v.nodes)
	for i := range out {
		n := &out[i]
		n.Own, n.Failures = own[n.ID], failures[n.ID]
		for _, r := range slices.Concat(s.olds, s.news, s.stopping) {
			if r.Node != n.ID {
				continue
			}
			n.Own--
			if rel := w.release(&w.svc, r.Release); rel != nil {
				n.CPUs -= rel.Spec.Resources.ReservedCPUs
				n.MemBytes -= rel.Spec.Resources.ReservedMemBytes
				n.Ports = withoutPorts(n.Ports, rel.Spec.Ports)
			}
		}
	}
	return out
}

func withoutPorts(taken map[holdfast.Port]bool, ports []holdfast.Port) map[holdfast.Port]bool {
	out := make(map[holdfast.Port]bool, len(taken))
	for p := range taken {
		out[p] = !slices.ContainsFunc(ports, func(x holdfast.Port) bool { return place.HostPort(x) == p })
	}
	return out
}

// failuresByNode counts the service's replicas that failed lately, where there is a choice of nodes.
func (w *work) failuresByNode() map[string]int {
	const lately = 5 * time.Minute
	if len(w.seen().nodes) < 2 {
		return nil
	}
	out := make(map[string]int)
	for _, r := range w.all {
		if r.st.State == holdfast.Failed && w.now.Sub(r.st.Finished) < lately {
			out[r.Node]++
		}
	}
	return out
}

// nodeOf returns the node of the running replica of another service in the same slot, or of any, on the node that the
// slot is bound to; "" when there is none.
func (w *work) nodeOf(service string, s *slot) string {
	node := ""
	for _, r := range w.replicas[store.ServiceKey(w.svc.App, service)] {
		fits := r.alive() && r.st.State == holdfast.Running && (s.pin == "" || r.Node == s.pin)
		if fits && (node == "" || r.Slot == s.number) {
			node = r.Node
		}
	}
	return node
}
