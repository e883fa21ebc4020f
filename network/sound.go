package network

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// sound returns t without what contradicts the rest of it, and an error that names all of that, or nil: of networks
// that overlap the one of the lower name stays, an address outside its network goes, host ports of one key are one.
// Nothing in the result is shared with t.
func sound(t Table) (Table, error) {
	c := cleaner{nets: map[string]Net{}}
	c.out.Hosts = maps.Clone(t.Hosts)
	networks := slices.Clone(t.Networks)
	slices.SortFunc(networks, func(a, b Net) int { return strings.Compare(a.Name, b.Name) })
	for _, n := range networks {
		c.network(n)
	}
	for _, p := range t.Endpoints {
		c.peer(p)
	}
	for _, s := range t.Services {
		c.service(s)
	}
	for _, h := range t.HostPorts {
		c.hostPort(h)
	}
	return c.out, errors.Join(c.errs...)
}

type cleaner struct {
	out  Table
	nets map[string]Net
	errs []error
}

func (c *cleaner) wrong(kind error, format string, args ...any) {
	c.errs = append(c.errs, holdfast.Errorf(kind, format, args...))
}

func (c *cleaner) network(n Net) {
	if !n.Subnet.IsValid() || !n.Subnet.Addr().Is4() {
		c.wrong(holdfast.ErrInvalid, "network %s: %s is no IPv4 subnet", n.Name, n.Subnet)
		return
	}
	n.Subnet = n.Subnet.Masked()
	for _, other := range c.out.Networks {
		if other.Name == n.Name || other.Subnet.Overlaps(n.Subnet) {
			c.wrong(holdfast.ErrInvalid, "network %s of %s overlaps network %s of %s", n.Name, n.Subnet, other.Name, other.Subnet)
			return
		}
	}
	c.nets[n.Name] = n
	c.out.Networks = append(c.out.Networks, n)
}

func (c *cleaner) peer(p Peer) {
	addrs := make(map[string]netip.Addr, len(p.Addrs))
	for _, network := range slices.Sorted(maps.Keys(p.Addrs)) {
		if err := c.checkAddr(network, p.Addrs[network]); err != nil {
			c.wrong(holdfast.ErrInvalid, "replica %s: %w", p.Replica, err)
			continue
		}
		addrs[network] = p.Addrs[network]
	}
	p.Addrs = addrs
	c.out.Endpoints = append(c.out.Endpoints, p)
}

func (c *cleaner) service(s Service) {
	var networks []ServiceNet
	for _, on := range s.Networks {
		var err error
		if on.VIP.IsValid() {
			err = c.checkAddr(on.Network, on.VIP)
		} else if _, ok := c.nets[on.Network]; !ok {
			err = fmt.Errorf("network %s is not in the table", on.Network)
		}
		if err != nil {
			c.wrong(holdfast.ErrInvalid, "service %s/%s: %w", s.App, s.Name, err)
			continue
		}
		networks = append(networks, on)
	}
	s.Networks = networks
	c.out.Services = append(c.out.Services, s)
}

func (c *cleaner) checkAddr(network string, addr netip.Addr) error {
	n, ok := c.nets[network]
	if !ok {
		return fmt.Errorf("network %s is not in the table", network)
	}
	if !n.Subnet.Contains(addr) {
		return fmt.Errorf("address %s is outside %s of network %s", addr, n.Subnet, network)
	}
	return nil
}

func (c *cleaner) hostPort(h HostPort) {
	name := fmt.Sprintf("host port %d/%s", h.Port, h.Protocol)
	if h.HostIP.IsValid() && h.HostIP.IsUnspecified() {
		h.HostIP = netip.Addr{}
	}
	if h.Port == 0 || (h.Protocol != "tcp" && h.Protocol != "udp") {
		c.wrong(holdfast.ErrInvalid, "%s: want a port and tcp or udp", name)
		return
	}
	if h.HostIP.IsValid() && !h.HostIP.Is4() {
		c.wrong(holdfast.ErrUnsupported, "%s on %s: only IPv4 is published", name, h.HostIP)
		return
	}
	var to []netip.AddrPort
	for _, target := range h.To {
		if !target.Addr().Is4() || target.Port() == 0 {
			c.wrong(holdfast.ErrInvalid, "%s: %s is no IPv4 address and port", name, target)
			continue
		}
		to = append(to, target)
	}
	h.To = to
	for i, other := range c.out.HostPorts {
		if other.HostIP == h.HostIP && other.Port == h.Port && other.Protocol == h.Protocol {
			c.out.HostPorts[i].To = append(other.To, to...)
			return
		}
	}
	c.out.HostPorts = append(c.out.HostPorts, h)
}

// Validate returns what Apply would leave out of t and why, or nil.
func (t Table) Validate() error {
	_, err := sound(t)
	return err
}
