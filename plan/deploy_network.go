package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/network/ipam"
	"github.com/holdfast/holdfast/store"
)

// networks returns the app's networks with their subnets.
func (dp *deployer) networks() (map[string]holdfast.Network, error) {
	others := otherNetworks(dp.snap, dp.d.Name)
	var used []netip.Prefix
	for _, n := range others {
		used = append(used, n.Subnet)
	}
	out := make(map[string]holdfast.Network, len(dp.d.Networks))
	open := make([]string, 0, len(dp.d.Networks))
	for _, key := range slices.Sorted(maps.Keys(dp.d.Networks)) {
		n, err := dp.network(key, others)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", key, err)
		}
		out[key] = n
		if n.External {
			continue
		}
		if !n.Subnet.IsValid() {
			open = append(open, key)
			continue
		}
		for _, u := range used {
			if u.Overlaps(n.Subnet) {
				return nil, holdfast.Errorf(holdfast.ErrConflict, "network %s: subnet %s overlaps %s of another network", key, n.Subnet, u)
			}
		}
		used = append(used, n.Subnet)
	}
	for _, key := range open {
		n := out[key]
		subnet, err := ipam.AllotSubnet(ipam.Pool, used)
		if err != nil {
			return nil, holdfast.Errorf(holdfast.ErrUnavailable, "network %s: %w", key, err)
		}
		n.Subnet = subnet
		out[key], used = n, append(used, subnet)
	}
	return out, nil
}

// network resolves one network of the deployment; its subnet stays open when it is to be allotted.
func (dp *deployer) network(key string, others map[string]holdfast.Network) (holdfast.Network, error) {
	n := dp.d.Networks[key]
	owner, taken := others[n.Name]
	if n.External {
		if !taken {
			return n, holdfast.Errorf(holdfast.ErrNotFound, "external network %s does not exist: no deployed app has it", n.Name)
		}
		n.Subnet, n.Internal = owner.Subnet, owner.Internal
		return n, nil
	}
	if taken {
		return n, holdfast.Errorf(holdfast.ErrConflict, "the name %s is taken by another app's network", n.Name)
	}
	if was, ok := dp.old.Networks[key]; ok && !n.Subnet.IsValid() && was.Name == n.Name && !was.External {
		n.Subnet = was.Subnet
	}
	return n, nil
}

// otherNetworks returns the networks that apps other than app own, by name.
func otherNetworks(snap *store.Snapshot, app string) map[string]holdfast.Network {
	out := make(map[string]holdfast.Network)
	for _, a := range snap.Apps.All("") {
		for _, n := range a.Networks {
			if a.Name != app && !n.External {
				out[n.Name] = n
			}
		}
	}
	return out
}

// serviceAddresses returns the service's address on each of its networks: those it has, where they still fit.
func (dp *deployer) serviceAddresses(s *holdfast.Service, spec *holdfast.Spec) (map[string]netip.Addr, error) {
	if spec.EndpointMode == "dnsrr" || spec.Mode == holdfast.Job || spec.NetworkMode != "" {
		return nil, nil
	}
	out := make(map[string]netip.Addr, len(spec.Networks))
	for _, at := range spec.Networks {
		subnet := dp.app.Networks[at.Network].Subnet
		if has := s.VIPs[at.Network]; has.IsValid() && subnet.Contains(has) {
			out[at.Network] = has
			continue
		}
		vip, err := ipam.AllotVIP(subnet, dp.vips.taken)
		if err != nil {
			return nil, holdfast.Errorf(holdfast.ErrUnavailable, "network %s: %w", at.Network, err)
		}
		dp.vips.take(vip)
		out[at.Network] = vip
	}
	return out, nil
}

// volumes refuses a volume that exists with other options, here or in another app.
func (dp *deployer) volumes() error {
	for _, a := range dp.snap.Apps.All("") {
		for _, was := range a.Volumes {
			for key, v := range dp.d.Volumes {
				if was.Name != v.Name || was.External || v.External {
					continue
				}
				if was.Driver != v.Driver || !maps.Equal(was.DriverOpts, v.DriverOpts) {
					return holdfast.Errorf(holdfast.ErrConflict,
						"volume %s: %s exists in app %s with other options; give it another name or remove it first", key, v.Name, a.Name)
				}
			}
		}
	}
	return nil
}

// sameMap reports whether a and b read the same once stored.
func sameMap[T any](a, b map[string]T) bool {
	if len(a) == 0 && len(b) == 0 {
		return true
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
