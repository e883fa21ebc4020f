// Package route owns the gateway's routing table: which service, release and replica may answer a request, a connection
// or a datagram. A Table is one immutable value made from a snapshot of the store; all functions are pure.
//
// May import only holdfast (the root), gateway/filter, store and the standard library.
package route

import (
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/gateway/filter"
)

// Table says where traffic may go, at one revision of the store. It never changes.
type Table struct {
	Revision int64
	Backends []*Backend // sorted by Key
	Routes   []*Route   // sorted by host, then as they are tried
	Ports    []*Port    // sorted by protocol, number, address
	Replicas []Replica  // every replica that has not ended, and those that ended and are still recorded; sorted by ID
	Problems []Problem  // what was asked for and could not be had

	exact    map[string]*paths // by host
	wildcard map[string]*paths // by what follows the first label, with its dot
	any      *paths
}

// Backend is what answers one route or port: replicas of one service.
type Backend struct {
	Key       string // unique in the cluster, the same in every table
	Index     int    // in Table.Backends
	App       string
	Service   string
	Endpoints []Endpoint // ready ones, sorted by replica
	// Idle says why there is no point in waiting for an endpoint (the service is scaled to zero); "" when there is.
	Idle string
	// RetryPercent is how many of 100 requests may be sent again; 0 is the default.
	RetryPercent int
}

// Endpoint is a port of a replica that is ready for traffic.
type Endpoint struct {
	Replica string
	Release int
	Addr    netip.AddrPort
}

// Route sends HTTP requests to a backend.
type Route struct {
	Index   int    // in Table.Routes
	Host    string // "" any; "*.example.com" one label; lower case
	Path    string // starts with "/", ends with none but for "/" itself; an exact one is as it was given
	Exact   bool   // Path is the whole path
	Strip   bool   // Path is cut off before the request is forwarded
	Backend *Backend
	// Spec is what the service says of the route; nil for that of a published port.
	Spec *holdfast.Route
	// Filter is what is done on the way; nil is nothing. Build leaves it to the gateway, which keeps what it counts.
	Filter *filter.Chain
	// Std is set when the loops leave the route to package std: it has a filter, or Match cannot know without the rest of
	// the request whether the route takes it.
	Std bool

	name    string
	pattern *regexp.Regexp // in place of Path
	asks    asks
}

// String returns the route as `holdfast route ls` prints it: host and path, then what else it asks for.
func (r *Route) String() string { return r.name }

// Timeout returns how long a replica may take to begin its answer: the route's own bound, or otherwise.
func (r *Route) Timeout(otherwise time.Duration) time.Duration {
	if r.Spec == nil || r.Spec.Timeout <= 0 {
		return otherwise
	}
	return time.Duration(r.Spec.Timeout)
}

// Attempts returns how often a request is sent at most; 0 is the default.
func (r *Route) Attempts() int {
	if r.Spec == nil || r.Spec.Retries == nil {
		return 0
	}
	return r.Spec.Retries.Attempts
}

// Port is a port that the gateway opens on its node.
type Port struct {
	Listen  Listen
	Backend *Backend
	// HTTP is set when the port's traffic is HTTP: requests are then balanced one by one, held and retried. Its Route
	// is not in Table.Routes: it takes every host and path.
	HTTP *Route
}

// Listen names a listening socket.
type Listen struct {
	Protocol string // tcp, udp
	Addr     netip.AddrPort
}

func (l Listen) String() string { return l.Protocol + " " + l.Addr.String() }

// Phase of a replica as the gateway sees it. A replica only moves forward but for Ready and Waiting.
type Phase int

// Phases.
const (
	Waiting  Phase = iota // not ready, or not any more
	Ready                 // gets traffic
	Draining              // gets no new traffic; its end was asked for
	Ended                 // its processes are gone
)

// Replica is what the table knows of a replica.
type Replica struct {
	ID      string
	App     string
	Service string
	Release int
	Phase   Phase
}

// Problem is something in a service's spec that the gateway cannot serve.
type Problem struct {
	App, Service string
	What         string // "route example.com/api", "port tcp 0.0.0.0:8080"
	Why          string
}

func (p Problem) String() string {
	return fmt.Sprintf("%s/%s: %s: %s", p.App, p.Service, p.What, p.Why)
}
