package plan

import (
	"net/netip"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/network/ipam"
	"github.com/holdfast/holdfast/store"
)

// addresses knows which addresses are in use, and which was given last in each subnet.
type addresses struct {
	used map[netip.Addr]bool
	last map[netip.Prefix]netip.Addr
}

func (a *addresses) taken(addr netip.Addr) bool { return a.used[addr] }
func (a *addresses) take(addr netip.Addr)       { a.used[addr] = true }

// usedAddresses returns those of services, of replicas that have not ended, and those that specs ask for.
func usedAddresses(snap *store.Snapshot) *addresses {
	a := &addresses{used: make(map[netip.Addr]bool), last: make(map[netip.Prefix]netip.Addr)}
	for _, s := range snap.Services.All("") {
		for _, vip := range s.VIPs {
			a.take(vip)
		}
		if r, ok := snap.Releases.Get(store.ReleaseKey(s.App, s.Name, s.Release)); ok {
			for _, at := range r.Spec.Networks {
				if at.IPv4.IsValid() {
					a.take(at.IPv4)
				}
			}
		}
	}
	newest := make(map[netip.Prefix]time.Time)
	for id, r := range snap.Replicas.All("") {
		if len(r.Addresses) == 0 {
			continue
		}
		st, reported := snap.Statuses.Get(id)
		for _, addr := range r.Addresses {
			if !reported || !st.State.Ended() {
				a.take(addr)
			}
			block := blockOf(addr)
			if !r.Created.Before(newest[block]) {
				newest[block], a.last[block] = r.Created, addr
			}
		}
	}
	return a
}

// blockOf is a stand-in for the subnet of an address: subnets are of this size or of the user's choice.
func blockOf(addr netip.Addr) netip.Prefix {
	p, err := addr.Prefix(ipam.SubnetBits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// allot gives a replica of spec its address on each network.
func (a *addresses) allot(app *holdfast.App, spec *holdfast.Spec) (map[string]netip.Addr, error) {
	if spec.NetworkMode != "" || len(spec.Networks) == 0 {
		return nil, nil
	}
	out := make(map[string]netip.Addr, len(spec.Networks))
	for _, at := range spec.Networks {
		if at.IPv4.IsValid() {
			out[at.Network] = at.IPv4
			continue
		}
		subnet := app.Networks[at.Network].Subnet
		hint := a.last[blockOf(subnet.Addr())]
		if hint.IsValid() {
			hint = hint.Next()
		}
		addr, err := ipam.AllotAddr(subnet, a.taken, hint)
		if err != nil {
			return nil, holdfast.Errorf(holdfast.ErrUnavailable, "network %s: %w", at.Network, err)
		}
		a.take(addr)
		a.last[blockOf(addr)] = addr
		out[at.Network] = addr
	}
	return out, nil
}
