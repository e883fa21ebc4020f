package network

import "net/netip"

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
	HostIP   netip.Addr // invalid, 0.0.0.0 or ::: every IPv4 address of the node, 127.0.0.1 too
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
