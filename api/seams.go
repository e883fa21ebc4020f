package api

import (
	"context"
	"io"
	"iter"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/logs"
	"github.com/holdfast/holdfast/store"
)

// State is the store: *store.Store is one.
type State interface {
	Snapshot() *store.Snapshot
	Wait(ctx context.Context, after int64) (*store.Snapshot, error)
	Update(ctx context.Context, change func(*store.Snapshot, *store.Tx) error) error
}

// Processes reaches the processes of replicas, wherever they run. ErrNotFound when the replica has no container.
type Processes interface {
	// Exec runs another process in the replica's container.
	Exec(ctx context.Context, replica string, spec container.ExecSpec) (container.Exec, error)
	// Attach connects to the standard streams of the replica's own process.
	Attach(ctx context.Context, replica string) (container.Exec, error)
	// Signal sends sig to the replica's first process.
	Signal(ctx context.Context, replica string, sig syscall.Signal) error
	// Stats reads the replica's use of resources now.
	Stats(ctx context.Context, replica string) (container.Stats, error)
	// Dial connects to a TCP port inside the replica.
	Dial(ctx context.Context, replica string, port uint16) (net.Conn, error)
}

// Logs reads what a replica wrote, also after it ended for as long as its log is kept.
type Logs interface {
	// Logs yields the replica's lines in the order written: those of since or later (zero: all), of them at most
	// the newest tail (below 0: all). With follow it goes on until the replica ended or ctx did. ErrNotFound when
	// there is no such replica; nothing at all when there is no log of it.
	Logs(ctx context.Context, replica string, since time.Time, tail int, follow bool) iter.Seq2[logs.Entry, error]
}

// Copier moves files between the caller and a replica's file system, as tar streams.
type Copier interface {
	// CopyFrom writes path (a file, or a directory with all in it) as a tar to w; names in it start with path's base.
	CopyFrom(ctx context.Context, replica, path string, w io.Writer) error
	// CopyTo unpacks the tar r into the directory dir of the replica.
	CopyTo(ctx context.Context, replica, dir string, r io.Reader) error
}

// Images is the node's image store.
type Images interface {
	// Pull fetches ref from its registry, as far as the policy asks.
	Pull(ctx context.Context, ref string, opt PullOptions, progress func(PullProgress)) (Image, error)
	// Import reads a tar (docker save, OCI layout or root file system, by content) and names it ref; "" keeps the
	// name that the tar holds. With hold it is kept as PullOptions.Hold says.
	Import(ctx context.Context, ref string, hold bool, r io.Reader) (Image, error)
	// Tag gives the image that ref names another name as well. ErrNotFound when there is no such image.
	Tag(ctx context.Context, ref, name string) error
	// Settle ends the holds of the images that refs pin: a release names them now.
	Settle(refs []string)
	// List returns all images, sorted by name.
	List(ctx context.Context) ([]Image, error)
	// Get returns the image that ref names. ErrNotFound when it is not there.
	Get(ctx context.Context, ref string) (Image, error)
	// Remove forgets a name, and the content that no name and no release needs. ErrConflict when a release does.
	Remove(ctx context.Context, ref string) error
	// Prune removes images that no release in history needs.
	Prune(ctx context.Context) (Pruned, error)
}

// Volumes are the node's named volumes.
type Volumes interface {
	// List returns all volumes, sorted by name.
	List(ctx context.Context) ([]VolumeInfo, error)
	// Get returns one volume. ErrNotFound.
	Get(ctx context.Context, name string) (VolumeInfo, error)
	// Remove deletes a volume and its data. ErrConflict when a replica uses it.
	Remove(ctx context.Context, name string) error
	// Prune removes the volumes that no app names and no replica uses.
	Prune(ctx context.Context) (Pruned, error)
}

// Router knows where the gateway sends a request.
type Router interface {
	// Match says which route a request takes, and why the others do not.
	Match(RouteRequest) RouteMatch
}

// RouteRequest is a request as routes look at it.
type RouteRequest struct {
	Method string // "" is GET
	Host   string
	Path   string // as sent, without the query
	Query  string // as sent
	Header http.Header
}

// RouteMatch is where a request goes. Route is "" when no route takes it.
type RouteMatch struct {
	Host       string           `json:"host" doc:"As it is matched"`
	Path       string           `json:"path" doc:"As it is matched"`
	Route      string           `json:"route,omitempty" doc:"Route that takes it; empty: none does"`
	Service    string           `json:"service,omitempty" doc:"As app/service"`
	Forwarded  string           `json:"forwarded,omitempty" doc:"Path that the replica sees"`
	Steps      []string         `json:"steps,omitempty" doc:"What the gateway does with it on the way"`
	Candidates []RouteCandidate `json:"candidates" doc:"Routes that were considered, best first"`
}

// RouteCandidate is a route that was considered.
type RouteCandidate struct {
	Route   string `json:"route"`
	Service string `json:"service" doc:"As app/service"`
	Why     string `json:"why"`
}
