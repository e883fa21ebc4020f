// Package place chooses the node for a replica and says why. It is pure and imports only the root package.
package place

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// Node is a node as the placement of one service sees it.
type Node struct {
	*holdfast.Node
	CPUs     float64 // reserved by replicas on it
	MemBytes int64   // reserved by replicas on it
	Replicas int     // of any service
	Own      int     // replicas of the service to be placed
	Failures int     // recent failures on it of the service to be placed
	Ports    map[holdfast.Port]bool
}

// Want is what is to be placed.
type Want struct {
	Spec *holdfast.Spec
	// Pin, when not "", is the only node that will do, and PinReason says why.
	Pin       string
	PinReason string
}

// Choice is the outcome: the node, or "" when none fits, and why in one line.
type Choice struct {
	Node   string
	Reason string
}

// Choose returns the best of nodes for want. Nodes that may not be used are left out; of the others it prefers those
// with the fewest replicas of the service in the same spread domain (Placement.Spread, in order), then the fewest recent
// failures of it, then the fewest replicas of it, then those with the least reserved, then the fewest replicas at all.
// Equal ones are told apart by ID, so that the choice is always the same.
func Choose(nodes []Node, want Want) Choice {
	var fit []Node
	refused := refusals{}
	for _, n := range nodes {
		if why := refuse(n, want); why != "" {
			refused.add(why)
		} else {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return Choice{Reason: refused.String()}
	}
	domains := countDomains(nodes, want.Spec.Placement.Spread)
	best := slices.MinFunc(fit, func(a, b Node) int { return compare(a, b, want.Spec, domains) })
	return Choice{Node: best.ID, Reason: explain(best, want, len(fit))}
}

// Eligible reports whether a global service runs on n.
func Eligible(n *holdfast.Node, spec *holdfast.Spec) bool {
	return !n.Drained && unmet(n, spec.Placement.Constraints) == ""
}

// refuse returns why n cannot take want, or "".
func refuse(n Node, want Want) string {
	r := want.Spec.Resources
	switch {
	case want.Pin != "" && n.ID != want.Pin:
		return "not " + want.PinReason
	case n.Drained:
		return "drained"
	}
	if c := unmet(n.Node, want.Spec.Placement.Constraints); c != "" {
		return "does not meet " + c
	}
	if limit := want.Spec.Placement.MaxPerNode; limit > 0 && n.Own >= limit {
		return fmt.Sprintf("has %d of at most %d replicas", n.Own, limit)
	}
	if free := n.Node.CPUs - n.CPUs; r.ReservedCPUs > 0 && free < r.ReservedCPUs {
		return fmt.Sprintf("has %.2g of %.2g CPUs to reserve", max(free, 0), r.ReservedCPUs)
	}
	if free := n.Node.MemBytes - n.MemBytes; r.ReservedMemBytes > 0 && free < r.ReservedMemBytes {
		return fmt.Sprintf("has %d of %d MiB memory to reserve", max(free, 0)>>20, r.ReservedMemBytes>>20)
	}
	for _, p := range want.Spec.Ports {
		if p.Mode == "host" && n.Ports[HostPort(p)] {
			return fmt.Sprintf("has port %d/%s taken", p.Published, p.Protocol)
		}
	}
	return ""
}

// HostPort is what identifies a port on a node.
func HostPort(p holdfast.Port) holdfast.Port {
	return holdfast.Port{Published: p.Published, HostIP: p.HostIP, Protocol: p.Protocol}
}

// compare orders nodes that fit, the best first.
func compare(a, b Node, spec *holdfast.Spec, domains map[string]int) int {
	for _, label := range spec.Placement.Spread {
		if c := cmp.Compare(domains[domain(a.Node, label)], domains[domain(b.Node, label)]); c != 0 {
			return c
		}
	}
	return cmp.Or(
		cmp.Compare(a.Failures, b.Failures),
		cmp.Compare(a.Own, b.Own),
		cmp.Compare(a.load(), b.load()),
		cmp.Compare(a.Replicas, b.Replicas),
		cmp.Compare(a.ID, b.ID),
	)
}

// load is the larger share of what is reserved, in hundredths.
func (n Node) load() int {
	var share float64
	if n.Node.CPUs > 0 {
		share = n.CPUs / n.Node.CPUs
	}
	if n.Node.MemBytes > 0 {
		share = max(share, float64(n.MemBytes)/float64(n.Node.MemBytes))
	}
	return int(share * 100)
}

func domain(n *holdfast.Node, label string) string {
	return label + "=" + n.Labels[strings.TrimPrefix(label, labelPrefix)]
}

// countDomains counts the service's replicas per value of each spread label.
func countDomains(nodes []Node, spread []string) map[string]int {
	counts := make(map[string]int)
	for _, n := range nodes {
		for _, label := range spread {
			counts[domain(n.Node, label)] += n.Own
		}
	}
	return counts
}

func explain(n Node, want Want, fit int) string {
	switch {
	case want.Pin != "":
		return want.PinReason
	case fit == 1:
		return "the only node that fits"
	}
	return fmt.Sprintf("best of %d nodes that fit: %d of the service's replicas, %d in all", fit, n.Own, n.Replicas)
}

// refusals counts why nodes were refused.
type refusals map[string]int

func (r refusals) add(why string) { r[why]++ }

func (r refusals) String() string {
	if len(r) == 0 {
		return "there is no node"
	}
	whys := make([]string, 0, len(r))
	for why, n := range r {
		unit := "node"
		if n > 1 {
			unit = "nodes"
		}
		whys = append(whys, fmt.Sprintf("%d %s: %s", n, unit, why))
	}
	slices.Sort(whys)
	return "no node fits (" + strings.Join(whys, "; ") + ")"
}
