package place_test

import (
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan/place"
)

func node(id string, change ...func(*place.Node)) place.Node {
	n := place.Node{Node: &holdfast.Node{ID: id, Name: "host-" + id, CPUs: 4, MemBytes: 4 << 30, Labels: map[string]string{}}}
	for _, f := range change {
		f(&n)
	}
	return n
}

func label(key, value string) func(*place.Node) {
	return func(n *place.Node) { n.Labels[key] = value }
}

func own(n int) func(*place.Node) {
	return func(x *place.Node) { x.Own, x.Replicas = n, n }
}

func TestChoose(t *testing.T) {
	host := holdfast.Port{Published: 443, Protocol: "tcp", Mode: "host"}
	taken := func(n *place.Node) { n.Ports = map[holdfast.Port]bool{place.HostPort(host): true} }
	cases := []struct {
		name  string
		nodes []place.Node
		want  place.Want
		spec  holdfast.Spec
		node  string
		why   string
	}{
		{name: "no node", why: "there is no node"},
		{name: "one node", nodes: []place.Node{node("a")}, node: "a", why: "the only node"},
		{name: "equal ones", nodes: []place.Node{node("b"), node("a")}, node: "a", why: "best of 2"},
		{name: "fewest of its own", nodes: []place.Node{node("a", own(2)), node("b", own(1))}, node: "b", why: "1 of the service's"},
		{name: "drained", nodes: []place.Node{node("a", func(n *place.Node) { n.Drained = true }), node("b", own(9))}, node: "b"},
		{
			name: "fewest failures", node: "b",
			nodes: []place.Node{node("a", func(n *place.Node) { n.Failures = 1 }), node("b", own(3))},
		},
		{
			name: "constraint", spec: constrained("node.labels.disk == ssd", "node.hostname != host-a"), node: "c",
			nodes: []place.Node{node("a", label("disk", "ssd")), node("b"), node("c", label("disk", "ssd"))},
		},
		{
			name: "constraint that none meets", spec: constrained("node.labels.disk == ssd"), nodes: []place.Node{node("a"), node("b")},
			why: "no node fits (2 nodes: does not meet node.labels.disk == ssd)",
		},
		{name: "role", spec: constrained("node.role == worker", "node.role == manager"), nodes: []place.Node{node("a")}, node: "a"},
		{
			name: "spread before count", spec: holdfast.Spec{Placement: holdfast.Placement{Spread: []string{"node.labels.zone"}}}, node: "c",
			nodes: []place.Node{node("a", label("zone", "x"), own(1)), node("b", label("zone", "x")), node("c", label("zone", "y"))},
		},
		{
			name: "most per node", spec: holdfast.Spec{Placement: holdfast.Placement{MaxPerNode: 2}},
			nodes: []place.Node{node("a", own(2))}, why: "has 2 of at most 2 replicas",
		},
		{
			name: "CPUs", spec: holdfast.Spec{Resources: holdfast.Resources{ReservedCPUs: 2}}, node: "b",
			nodes: []place.Node{node("a", func(n *place.Node) { n.CPUs = 3 }), node("b", own(5))},
		},
		{
			name: "memory", spec: holdfast.Spec{Resources: holdfast.Resources{ReservedMemBytes: 2 << 30}},
			nodes: []place.Node{node("a", func(n *place.Node) { n.MemBytes = 3 << 30 })}, why: "has 1024 of 2048 MiB memory",
		},
		{
			name: "least reserved", spec: holdfast.Spec{Resources: holdfast.Resources{ReservedCPUs: 1}}, node: "b",
			nodes: []place.Node{node("a", func(n *place.Node) { n.CPUs = 2 }), node("b", func(n *place.Node) { n.CPUs = 1 })},
		},
		{name: "port", spec: holdfast.Spec{Ports: []holdfast.Port{host}}, nodes: []place.Node{node("a", taken), node("b", own(1))}, node: "b"},
		{
			name: "port everywhere", spec: holdfast.Spec{Ports: []holdfast.Port{host}}, nodes: []place.Node{node("a", taken)},
			why: "has port 443/tcp taken",
		},
		{
			name: "pinned", want: place.Want{Pin: "b", PinReason: "the node that has volume data"}, nodes: []place.Node{node("a"), node("b", own(4))},
			node: "b", why: "the node that has volume data",
		},
		{
			name: "pinned to one that is gone", want: place.Want{Pin: "z", PinReason: "the node that has volume data"}, nodes: []place.Node{node("a")},
			why: "1 node: not the node that has volume data",
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.want.Spec = &c.spec
			got := place.Choose(c.nodes, c.want)
			if got.Node != c.node || !strings.Contains(got.Reason, c.why) {
				t.Errorf("got %q because %q, want %q because %q", got.Node, got.Reason, c.node, c.why)
			}
		})
	}
}

func constrained(constraints ...string) holdfast.Spec {
	return holdfast.Spec{Placement: holdfast.Placement{Constraints: constraints}}
}

func FuzzConstraint(f *testing.F) {
	for _, seed := range []string{"node.id == a", "node.labels.x!=y", "==", "node.role==", "node.labels.==x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, c string) {
		spec := constrained(c)
		if place.Check(spec.Placement.Constraints) == nil {
			place.Eligible(&holdfast.Node{ID: "a"}, &spec)
		}
	})
}
