package compose

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

func (e *entry) network() {
	c := &e.c
	e.networkMode()
	if e.spec.NetworkMode == "" {
		for _, key := range sortedKeys(c.Networks) {
			e.attach(key, c.Networks[key])
		}
		e.containerName()
	}
	e.extraHosts()
	e.dns()
	if c.Deploy != nil {
		e.spec.EndpointMode = c.Deploy.EndpointMode
		if m := c.Deploy.EndpointMode; m != "" && m != "vip" && m != "dnsrr" {
			e.bad(at("deploy", "endpoint_mode"), "unknown mode %q: use vip or dnsrr", m)
		}
	}
	fill(e, "endpointMode", &e.spec.EndpointMode, "vip", e.spec.EndpointMode != "")
	for i, p := range c.Expose {
		if why := exposeProblem(p); why != "" {
			e.badItem(at("expose", i), p, "%s", why)
		}
	}
	e.spec.Expose = c.Expose
}

func (e *entry) networkMode() {
	mode := e.c.NetworkMode
	service, isService := strings.CutPrefix(mode, "service:")
	switch {
	case mode == "":
		return
	case mode == "bridge" || mode == "default":
		e.remark(at("network_mode"), "%q is the app's default network here", mode)
		e.c.Networks = map[string]*types.ServiceNetworkConfig{defaultNetwork: nil}
		if _, ok := e.project.Networks[defaultNetwork]; !ok {
			e.project.Networks = cloneWith(e.project.Networks, defaultNetwork, types.NetworkConfig{Name: e.project.Name + "_" + defaultNetwork})
		}
		return
	case mode == "host" || mode == "none":
	case isService:
		e.checkNetworkOf(service)
	case strings.HasPrefix(mode, "container:"):
		e.cannot(at("network_mode"), "containers outside the app cannot be joined: use service:<name>")
	default:
		e.bad(at("network_mode"), "unknown mode %q: use host, none or service:<name>, or networks", mode)
	}
	if e.sets("networks") {
		e.bad(at("networks"), "cannot be used together with network_mode: give one")
	}
	e.spec.NetworkMode = mode
}

func (e *entry) checkNetworkOf(service string) {
	other, ok := e.project.Services[service]
	switch {
	case !ok:
		e.bad(at("network_mode"), "no service %q%s", service, didYouMean(service, sortedKeys(e.project.Services)))
	case service == e.name:
		e.bad(at("network_mode"), "names the service itself")
	case strings.HasPrefix(other.NetworkMode, "service:"):
		e.cannot(at("network_mode"), "%s has no network of its own: name the service that has", service)
	}
}

// attach puts the entry on a network.
func (e *entry) attach(key string, c *types.ServiceNetworkConfig) {
	a := holdfast.Attachment{Network: key}
	n, declared := e.project.Networks[key]
	if !declared {
		e.bad(at("networks", key), "network %q is not declared: add it under the top-level networks%s", key,
			didYouMean(key, sortedKeys(e.project.Networks)))
		return
	}
	if c != nil {
		a.Aliases, a.Priority = slices.Sorted(slices.Values(c.Aliases)), c.Priority
		a.Aliases = slices.Compact(a.Aliases)
		for i, alias := range c.Aliases {
			if !validHostname(alias) {
				e.badItem(at("networks", key, "aliases", i), alias, "%q is not a host name", alias)
			}
		}
		a.IPv4 = e.fixedAddress(key, c.Ipv4Address, n)
	}
	e.spec.Networks = append(e.spec.Networks, a)
}

// fixedAddress checks ipv4_address against the network's subnet.
func (e *entry) fixedAddress(key, text string, n types.NetworkConfig) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	where := at("networks", key, "ipv4_address")
	a := addr(text)
	subnet, err := netip.ParsePrefix(firstSubnet(n))
	switch {
	case !a.Is4():
		e.bad(where, "%q is not an IPv4 address", text)
	case bool(n.External):
		// the other app's file has the subnet; checked at deploy
	case firstSubnet(n) == "":
		e.bad(where, "network %s has no subnet: give it one under ipam.config", key)
	case err == nil && !subnet.Contains(a):
		e.bad(where, "%s is not in the network's subnet %s", text, subnet)
	}
	return a
}

func firstSubnet(n types.NetworkConfig) string {
	for _, pool := range n.Ipam.Config {
		if pool != nil && pool.Subnet != "" {
			return pool.Subnet
		}
	}
	return ""
}

// containerName makes container_name a DNS name of the one replica.
func (e *entry) containerName() {
	name := e.c.ContainerName
	if name == "" {
		return
	}
	if !validHostname(name) {
		e.bad(at("container_name"), "%q is not a name that DNS can serve", name)
		return
	}
	e.addAlias(name)
}

// addAlias adds a DNS name on all of the entry's networks.
func (e *entry) addAlias(name string) {
	for i := range e.spec.Networks {
		a := &e.spec.Networks[i]
		if name != e.name && !slices.Contains(a.Aliases, name) {
			a.Aliases = slices.Sorted(slices.Values(append(a.Aliases, name)))
		}
	}
}

func (e *entry) extraHosts() {
	for _, host := range sortedKeys(e.c.ExtraHosts) {
		for _, ip := range e.c.ExtraHosts[host] {
			ip = strings.Trim(ip, "[]")
			if ip == "host-gateway" {
				ip = hostGateway
			}
			if !addr(ip).IsValid() {
				e.bad(at("extra_hosts", host), "%q is not an IP address, nor host-gateway", ip)
			}
			if !validHostname(host) {
				e.bad(at("extra_hosts", host), "%q is not a host name", host)
			}
			e.spec.ExtraHosts = append(e.spec.ExtraHosts, host+"="+ip)
		}
	}
}

func (e *entry) dns() {
	c := &e.c
	for i, s := range c.DNS {
		if !addr(s).IsValid() {
			e.badItem(at("dns", i), s, "%q is not an IP address", s)
		}
	}
	e.spec.DNS = holdfast.DNS{Servers: c.DNS, Search: c.DNSSearch, Options: c.DNSOpts}
}

// networks are those that entries are attached to.
func (l *loading) networks(all []*entry) map[string]holdfast.Network {
	used := map[string]bool{}
	for _, e := range all {
		for _, a := range e.spec.Networks {
			used[a.Network] = true
		}
	}
	out := map[string]holdfast.Network{}
	for _, key := range sortedKeys(l.project.Networks) {
		if !used[key] {
			if key != defaultNetwork {
				l.note(keyPath{"networks", key}, "", "no service uses it, so it is not made")
			}
			continue
		}
		out[key] = l.networkOf(key, l.project.Networks[key])
	}
	l.checkSubnets(out)
	return out
}

func (l *loading) networkOf(key string, n types.NetworkConfig) holdfast.Network {
	where := keyPath{"networks", key}
	out := holdfast.Network{
		Name: n.Name, Driver: n.Driver, Internal: n.Internal, External: bool(n.External), Labels: nonEmpty(n.Labels),
	}
	if !slices.Contains([]string{"", "bridge", "overlay", "default"}, n.Driver) {
		l.unsupported(where.at("driver"), "", "driver %q is not done: networks are routed, as bridge and overlay say", n.Driver)
	}
	if d := n.Ipam.Driver; d != "" && d != "default" {
		l.unsupported(where.at("ipam", "driver"), "", "driver %q is not done: leave it out", d)
	}
	subnets := 0
	for i, pool := range n.Ipam.Config {
		if pool == nil || pool.Subnet == "" {
			continue
		}
		in := where.at("ipam", "config", i, "subnet")
		prefix, err := netip.ParsePrefix(pool.Subnet)
		switch {
		case err != nil:
			l.invalid(in, "", "%q is not a subnet such as 10.5.0.0/24", pool.Subnet)
		case !prefix.Addr().Is4():
			l.unsupported(in, "", "IPv6 is not done: give an IPv4 subnet")
		case subnets > 0:
			l.unsupported(in, "", "a network has one subnet")
		case prefix.Bits() > 29:
			l.invalid(in, "", "%s is too small: at least a /29", prefix)
		default:
			out.Subnet = prefix.Masked()
		}
		subnets++
	}
	return out
}

// checkSubnets refuses subnets that overlap.
func (l *loading) checkSubnets(all map[string]holdfast.Network) {
	keys := sortedKeys(all)
	for i, a := range keys {
		for _, b := range keys[:i] {
			if all[a].Subnet.IsValid() && all[b].Subnet.IsValid() && all[a].Subnet.Overlaps(all[b].Subnet) {
				l.invalid(keyPath{"networks", a, "ipam", "config", "0", "subnet"}, "", "%s overlaps with %s of network %s",
					all[a].Subnet, all[b].Subnet, b)
			}
		}
	}
}
