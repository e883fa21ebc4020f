package api

import (
	"log/slog"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// Info tells about the agent that answers.
type Info struct {
	Version  string    `json:"version"`
	Revision string    `json:"revision,omitempty" doc:"VCS revision it was built from"`
	PID      int       `json:"pid"`
	Node     string    `json:"node" doc:"ID of the agent's node"`
	DataDir  string    `json:"dataDir"`
	RunDir   string    `json:"runDir"`
	Started  time.Time `json:"started"`
	Gateway  []string  `json:"gateway,omitempty" doc:"Addresses where the gateway takes HTTP, as host:port"`
	Problems []Problem `json:"problems,omitempty" doc:"What keeps clients from this node's services"`
}

// Problem is something of a node that keeps clients from its services, and that a person has to do something about.
type Problem struct {
	App     string `json:"app,omitempty" doc:"Empty: it is about every service with routes or published ports"`
	Service string `json:"service,omitempty"`
	What    string `json:"what" doc:"What is wrong, and why"`
	Advice  string `json:"advice,omitempty" doc:"What to do about it"`
}

// AppView is an app with all its services and replicas, at one revision.
type AppView struct {
	holdfast.App
	Revision int64         `json:"revision" doc:"Of the snapshot that this was read from"`
	Services []ServiceView `json:"services"`
}

// ServiceView is a service, what of its release matters to a reader, and its replicas.
type ServiceView struct {
	holdfast.Service
	Kind       holdfast.Kind      `json:"kind"`
	KindReason string             `json:"kindReason"`
	Mode       holdfast.Mode      `json:"mode"`
	Image      string             `json:"image"`
	Want       int                `json:"want" doc:"Replicas wanted"`
	Ready      int                `json:"ready" doc:"Replicas of any release that are ready"`
	Updated    int                `json:"updated" doc:"Ready replicas of the wanted release"`
	Finished   int                `json:"finished,omitempty" doc:"Replicas of the wanted release that ended well and are not to be replaced"`
	Ports      []holdfast.Port    `json:"ports,omitempty"`
	Routes     []holdfast.Route   `json:"routes,omitempty"`
	Triggers   []holdfast.Trigger `json:"triggers,omitempty" doc:"Of a job"`
	Problems   []Problem          `json:"problems,omitempty" doc:"What keeps clients from it although it runs"`
	Replicas   []ReplicaView      `json:"replicas" doc:"By slot, then creation"`
}

// ReplicaView is a replica with what it really does.
type ReplicaView struct {
	holdfast.Replica
	Status   holdfast.Status `json:"status"`
	InFlight int             `json:"inFlight,omitempty" doc:"Requests still in flight at gateways, while draining"`
	Ports    []holdfast.Port `json:"ports,omitempty"`
}

// Changes is what a verb changed, or would change.
type Changes struct {
	Revision int64    `json:"revision,omitempty" doc:"Of the commit; 0 when nothing was committed"`
	Changes  []Change `json:"changes"`
}

// Change is one decided step.
type Change struct {
	What    string `json:"what"`
	Why     string `json:"why,omitempty"`
	App     string `json:"app,omitempty"`
	Service string `json:"service,omitempty"`
}

// LogLine is one line of a replica's output. It is whole unless Partial.
type LogLine struct {
	Time    time.Time `json:"time"`
	App     string    `json:"app"`
	Service string    `json:"service"`
	Slot    int       `json:"slot"`
	Replica string    `json:"replica"`
	Stream  string    `json:"stream" enum:"stdout,stderr"`
	Partial bool      `json:"partial,omitempty" doc:"The line goes on in the next entry of this replica and stream"`
	Text    string    `json:"text"`
}

// Usage is one round of readings of replicas' use of resources.
type Usage struct {
	Time     time.Time      `json:"time"`
	Replicas []ReplicaUsage `json:"replicas"`
}

// ReplicaUsage is one replica's reading.
type ReplicaUsage struct {
	ID      string          `json:"id"`
	App     string          `json:"app"`
	Service string          `json:"service"`
	Slot    int             `json:"slot"`
	Node    string          `json:"node"`
	Stats   container.Stats `json:"stats"`
}

// Image is an image in the node's store.
type Image struct {
	Name      string    `json:"name" doc:"Reference it is stored under"`
	Digest    string    `json:"digest" doc:"Of its manifest: sha256:<hex>"`
	SizeBytes int64     `json:"sizeBytes" doc:"Of its layers, compressed"`
	Created   time.Time `json:"created,omitzero"`
	Platform  string    `json:"platform,omitempty"`
	InUse     bool      `json:"inUse,omitempty" doc:"A release in history needs it"`

	Health holdfast.Health `json:"health,omitzero" doc:"The health check that it brings along, for services that name none"`
}

// Pinned returns the reference that names exactly this image: "name@sha256:…".
func (i Image) Pinned() string {
	if i.Digest == "" {
		return i.Name
	}
	return i.Name + "@" + i.Digest
}

// PullOptions say how to pull.
type PullOptions struct {
	Policy string       `json:"policy,omitempty" doc:"As a Compose file's pull_policy: always, missing (default), never, daily, weekly, every_<duration>"`
	Hold   bool         `json:"hold,omitempty" doc:"Keep it from being removed until a release names it, ten minutes at most"`
	Auth   RegistryAuth `json:"auth,omitzero" doc:"What the registry asks for; default: what the agent's own Docker configuration holds"`
}

// RegistryAuth is what a registry asks for. It is used for one pull and kept nowhere; it prints as nothing.
type RegistryAuth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identityToken,omitempty"`
	RegistryToken string `json:"registryToken,omitempty"`
}

// String hides the secrets.
func (RegistryAuth) String() string { return "(registry credentials)" }

// GoString hides the secrets.
func (a RegistryAuth) GoString() string { return a.String() }

// LogValue hides the secrets.
func (a RegistryAuth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// PullProgress is one line of a pull's progress. The last one has Image set, or the stream ends with an error.
type PullProgress struct {
	Ref    string `json:"ref"`
	Layer  string `json:"layer,omitempty" doc:"Digest; empty for the image as a whole"`
	Phase  string `json:"phase" doc:"resolving, waiting, pulling, unpacking, done, present"`
	Bytes  int64  `json:"bytes,omitempty"`
	Total  int64  `json:"total,omitempty"`
	Image  *Image `json:"image,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Pruned is what a prune removed.
type Pruned struct {
	Removed    []string `json:"removed"`
	FreedBytes int64    `json:"freedBytes"`
}

// VolumeInfo is a named volume on a node.
type VolumeInfo struct {
	Name      string            `json:"name"`
	App       string            `json:"app,omitempty"`
	Driver    string            `json:"driver,omitempty"`
	Node      string            `json:"node,omitempty"`
	Path      string            `json:"path,omitempty" doc:"Where its data is on the node"`
	SizeBytes int64             `json:"sizeBytes"`
	Created   time.Time         `json:"created,omitzero"`
	UsedBy    []string          `json:"usedBy,omitempty" doc:"Replicas"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// RouteView is one route of one service.
type RouteView struct {
	App     string         `json:"app"`
	Service string         `json:"service"`
	Route   holdfast.Route `json:"route"`
	Ready   int            `json:"ready" doc:"Replicas ready to answer"`
}
