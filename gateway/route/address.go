package route

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// address returns where r is reached from the gateway's node; the zero Addr when it cannot be.
func (b *builder) address(r replica) netip.Addr {
	switch mode := r.spec.NetworkMode; {
	case mode == "host":
		return b.nodeAddress(r.Node)
	case mode == "none":
		return netip.Addr{}
	case strings.HasPrefix(mode, "service:"):
		return b.sharedAddress(r, strings.TrimPrefix(mode, "service:"))
	}
	return ownAddress(r)
}

func (b *builder) nodeAddress(id string) netip.Addr {
	if id == b.self {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	node, ok := b.snap.Nodes.Get(id)
	if !ok {
		return netip.Addr{}
	}
	return node.Address
}

// ownAddress returns r's address on its first network: that of the highest priority, in the order of the spec.
func ownAddress(r replica) netip.Addr {
	networks := slices.Clone(r.spec.Networks)
	slices.SortStableFunc(networks, func(a, b holdfast.Attachment) int { return cmp.Compare(b.Priority, a.Priority) })
	for _, n := range networks {
		if addr := r.Addresses[n.Network]; addr.IsValid() {
			return addr
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Addresses)) {
		return r.Addresses[key]
	}
	return netip.Addr{}
}

// sharedAddress returns the address of the replica of service whose network namespace r shares: on the same node, that
// of the same slot before any other.
func (b *builder) sharedAddress(r replica, service string) netip.Addr {
	var found netip.Addr
	for _, other := range b.byID[r.App+"/"+service] {
		if other.Node != r.Node || other.spec == nil || other.phase == Ended {
			continue
		}
		if addr := ownAddress(other); other.Slot == r.Slot || !found.IsValid() {
			found = addr
			if other.Slot == r.Slot {
				break
			}
		}
	}
	return found
}
