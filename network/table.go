package network

import (
	"net/netip"

	"github.com/holdfast/holdfast"
)

// Table is the whole wanted state of the cluster's network as one node needs it. Networks are named by their name in
// the cluster (holdfast.Network.Name), never by an app's key.
type Table struct {
	Networks  []Net
	Endpoints []Peer
	Services  []Service
	HostPorts []HostPort
	// Hosts are names that every replica resolves, beside host.docker.internal, which is the node's Gateway.
	Hosts map[string]netip.Addr
}

// Net is a network of the cluster.
type Net struct {
	Name     string
	Subnet   netip.Prefix // of no other network of the table
	Internal bool         // no way out, and no way to the node but DNS
}

// Peer is a replica that has addresses, on whatever node. A replica belongs in the table from before its first
// instruction until its processes are gone: leaving it out ends its connections.
type Peer struct {
	Replica  string // ID
	App      string
	Service  string
	Slot     int
	Hostname string                // "" is the ID
	Addrs    map[string]netip.Addr // by network name
	Local    bool                  // on this node
	// Ready peers get what is sent to their service, by its address and by its name.
	Ready bool
	// Leaving peers are draining or stopping: no name resolves to them and no new flow goes to them through the
	// service's address; their TCP connections go on.
	Leaving bool
	// Resolvers are asked instead of the node's own for names outside the cluster.
	Resolvers []netip.AddrPort
}

// Service is what replicas reach by one name.
type Service struct {
	App      string
	Name     string
	Networks []ServiceNet
}

// ServiceNet is a service on one network.
type ServiceNet struct {
	Network string
	VIP     netip.Addr // virtual address; invalid for endpoint mode dnsrr
	Aliases []string
}

// HostPort publishes a port on the node by DNAT, from outside, from the node itself and from replicas.
type HostPort struct {
	HostIP   netip.Addr // invalid or 0.0.0.0: every address of the node, 127.0.0.1 too
	Port     uint16
	Protocol string           // tcp, udp
	To       []netip.AddrPort // spread evenly; none: refused
}

// Endpoint is a sandbox that becomes a replica.
type Endpoint struct {
	Sandbox     string // ID, as given to Prepare
	NetNS       string // path of its network namespace
	Replica     string // ID, for the texts of errors
	Attachments []Attachment
}

// Attachment is one address of an Endpoint. The first one is the source of what leaves the cluster: the caller puts a
// network that is not internal there.
type Attachment struct {
	Network string // name in the cluster
	Subnet  netip.Prefix
	Addr    netip.Addr
}

// Validate returns ErrInvalid, saying what is wrong, when Apply could not do as t says.
func (t Table) Validate() error {
	byName := make(map[string]Net, len(t.Networks))
	for i, n := range t.Networks {
		if !n.Subnet.IsValid() || !n.Subnet.Addr().Is4() {
			return holdfast.Errorf(holdfast.ErrInvalid, "network %s: %s is no IPv4 subnet", n.Name, n.Subnet)
		}
		for _, other := range t.Networks[:i] {
			if other.Subnet.Overlaps(n.Subnet) {
				return holdfast.Errorf(holdfast.ErrInvalid, "networks %s and %s overlap: %s, %s", other.Name, n.Name, other.Subnet, n.Subnet)
			}
		}
		byName[n.Name] = n
	}
	for _, p := range t.Endpoints {
		for name, addr := range p.Addrs {
			if err := checkAddr(byName, name, addr, "replica "+p.Replica); err != nil {
				return err
			}
		}
	}
	for _, s := range t.Services {
		for _, on := range s.Networks {
			if !on.VIP.IsValid() {
				continue
			}
			if err := checkAddr(byName, on.Network, on.VIP, "service "+s.App+"/"+s.Name); err != nil {
				return err
			}
		}
	}
	return t.validateHostPorts()
}

func checkAddr(nets map[string]Net, name string, addr netip.Addr, who string) error {
	n, ok := nets[name]
	if !ok {
		return holdfast.Errorf(holdfast.ErrInvalid, "%s: network %s is not in the table", who, name)
	}
	if !n.Subnet.Contains(addr) {
		return holdfast.Errorf(holdfast.ErrInvalid, "%s: address %s is outside %s of network %s", who, addr, n.Subnet, name)
	}
	return nil
}

func (t Table) validateHostPorts() error {
	type key struct {
		ip    netip.Addr
		port  uint16
		proto string
	}
	seen := map[key]bool{}
	for _, h := range t.HostPorts {
		if h.Port == 0 || (h.Protocol != "tcp" && h.Protocol != "udp") {
			return holdfast.Errorf(holdfast.ErrInvalid, "host port %d/%s: want a port and tcp or udp", h.Port, h.Protocol)
		}
		if h.HostIP.IsValid() && !h.HostIP.Is4() {
			return holdfast.Errorf(holdfast.ErrUnsupported, "host port %s:%d: only IPv4 is published", h.HostIP, h.Port)
		}
		k := key{h.HostIP, h.Port, h.Protocol}
		if k.ip.IsValid() && k.ip.IsUnspecified() {
			k.ip = netip.Addr{}
		}
		if seen[k] {
			return holdfast.Errorf(holdfast.ErrInvalid, "host port %d/%s is published twice", h.Port, h.Protocol)
		}
		seen[k] = true
		for _, to := range h.To {
			if !to.Addr().Is4() || to.Port() == 0 {
				return holdfast.Errorf(holdfast.ErrInvalid, "host port %d/%s: %s is no IPv4 address and port", h.Port, h.Protocol, to)
			}
		}
	}
	return nil
}
