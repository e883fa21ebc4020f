// Package container runs containers on this machine. Runtime is the one interface to them; container/linux is our own
// implementation (inside the supervisor process), container/supervisor its client and server, container/oci drives
// runc or crun, container/fake is for tests, and container/containertest the contract that all of them pass.
//
// May import only the root package and libraries.
package container

import (
	"context"
	"io"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Runtime runs containers. They outlive the Runtime value and, but for the fake, the process that holds it: List
// after a restart returns them. Safe for concurrent use. Errors are of the root package's kinds.
type Runtime interface {
	// Park makes a sandbox: namespaces and a waiting first process with no container in it yet, so that its
	// network can be prepared ahead and Start is fast.
	Park(ctx context.Context, opt ParkOptions) (Sandbox, error)
	// Start runs spec in the parked sandbox spec.Sandbox and returns when its first instruction is about to run:
	// execve succeeded. When it returns an error nothing remains of the container; the sandbox is used up either way.
	Start(ctx context.Context, spec Spec) (Status, error)
	// Signal sends sig to the container's first process. ErrNotFound when it ended.
	Signal(ctx context.Context, id string, sig syscall.Signal) error
	// Kill sends SIGKILL to all processes of the container, whatever they do, paused ones too. ErrNotFound when there
	// is no such container; one that ended is no error.
	Kill(ctx context.Context, id string) error
	// Remove forgets an ended container, or an unused sandbox, and frees all that it held, except its log.
	// It kills what still runs. Removing what is not there is no error.
	Remove(ctx context.Context, id string) error
	// List returns all sandboxes and containers that were not removed.
	List(ctx context.Context) ([]Status, error)
	// Watch delivers each container's present status first and then every change, until ctx ends.
	Watch(ctx context.Context) (<-chan Status, error)
	// Exec runs another process in a running container. ErrConflict when it is paused.
	Exec(ctx context.Context, id string, spec ExecSpec) (Exec, error)
	// Attach connects to the standard streams of a running container. With Logging to a file, output from now on.
	Attach(ctx context.Context, id string) (Exec, error)
	// Stats reads the container's use of resources now.
	Stats(ctx context.Context, id string) (Stats, error)
	// Pause and Resume freeze and thaw all processes of the container.
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
}

// ParkOptions are what must be known of a container before its namespaces are made.
type ParkOptions struct {
	HostUserNS bool `json:"hostUserNS,omitempty"` // root in it is root on the node
	HostNet    bool `json:"hostNet,omitempty"`
	HostPID    bool `json:"hostPID,omitempty"`
	HostIPC    bool `json:"hostIPC,omitempty"`
	HostUTS    bool `json:"hostUTS,omitempty"`
	// NetOf, when not "", is the ID of the container whose network namespace is joined.
	NetOf string `json:"netOf,omitempty"`
	// Runtime is "" for our own, or runc, crun.
	Runtime string `json:"runtime,omitempty"`
}

// Sandbox is a parked sandbox.
type Sandbox struct {
	ID    string `json:"id"`
	NetNS string `json:"netns"` // path that setns(2) and netlink can open, e.g. /proc/<pid>/ns/net
	// UIDs is the host id that id 0 in the container maps to; 0 when HostUserNS or not supported by the kernel.
	UIDs uint32      `json:"uids"`
	Opt  ParkOptions `json:"opt"`
}

// Spec is one container to start.
type Spec struct {
	ID      string `json:"id"`      // chosen by the caller, unique on the node
	Sandbox string `json:"sandbox"` // of Park; used up
	// OCI is an OCI runtime config: Process, Hostname, Mounts, Linux.{Resources, Sysctl, Seccomp, MaskedPaths,
	// ReadonlyPaths, Devices, RootfsPropagation}, Annotations are honoured; Root.Path and Linux.Namespaces are filled
	// in by the runtime. A field that the runtime cannot honour is an error, never ignored.
	OCI    *specs.Spec `json:"oci"`
	Rootfs Rootfs      `json:"rootfs"`
	// User, name|uid[:name|gid], and further Groups, names or ids, are looked up in the container's own /etc/passwd and
	// /etc/group. They replace OCI.Process.User's ids, if not empty.
	User   string   `json:"user,omitempty"`
	Groups []string `json:"groups,omitempty"`
	Init   bool     `json:"init,omitempty"` // a PID 1 of ours that reaps and forwards signals
	Stdin  bool     `json:"stdin,omitempty"`
	Log    Log      `json:"log"`
	// Labels are kept and returned in Status: the caller's own.
	Labels map[string]string `json:"labels,omitempty"`
}

// Rootfs is a read-only image, seen through a writable overlay that is thrown away with the container.
type Rootfs struct {
	EROFS string   `json:"erofs,omitempty"` // file that holds the image as EROFS, or
	Dirs  []string `json:"dirs,omitempty"`  // lower directories, uppermost first
}

// Log is where a container's standard output and error go: lines of JSON
// {"t":"<RFC3339Nano>","s":"stdout"|"stderr","p":true when the line goes on,"m":"<text without newline>"}.
// Path itself is the newest file, Path.1 the one before, and so on.
type Log struct {
	Path     string `json:"path,omitempty"` // "": discarded
	MaxBytes int64  `json:"maxBytes,omitempty"`
	MaxFiles int    `json:"maxFiles,omitempty"`
}

// Phase of a container.
type Phase string

// Phases, in order.
const (
	Parked  Phase = "parked" // a sandbox; ID is the sandbox's
	Running Phase = "running"
	Paused  Phase = "paused"
	Exited  Phase = "exited"
)

// Status of a container or sandbox.
type Status struct {
	ID       string            `json:"id"`
	Phase    Phase             `json:"phase"`
	PID      int               `json:"pid,omitempty"` // on the node
	Started  time.Time         `json:"started,omitzero"`
	Finished time.Time         `json:"finished,omitzero"`
	ExitCode int               `json:"exitCode,omitempty"` // 128+signal when killed by one
	OOM      bool              `json:"oom,omitempty"`      // the kernel killed a process of it for memory
	Sandbox  Sandbox           `json:"sandbox"`
	Labels   map[string]string `json:"labels,omitempty"`
}

// ExecSpec is a process to run beside the container's first.
type ExecSpec struct {
	Args       []string `json:"args"`
	Env        []string `json:"env,omitempty"` // added to the container's own
	User       string   `json:"user,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	TTY        bool     `json:"tty,omitempty"`
	Rows, Cols uint16   `json:",omitempty"`
	Privileged bool     `json:"privileged,omitempty"`
}

// Exec is a running process's streams. Close ends the connection and kills an Exec'd process, not an attached one.
type Exec interface {
	Stdin() io.WriteCloser // nil when there is none
	Stdout() io.Reader     // with a TTY, all output
	Stderr() io.Reader     // nil with a TTY
	Resize(rows, cols uint16) error
	Signal(sig syscall.Signal) error
	// Wait returns the exit code once the process ended and its output was read.
	Wait() (int, error)
	Close() error
}

// Stats is a container's use of resources.
type Stats struct {
	Time        time.Time     `json:"time"`
	CPU         time.Duration `json:"cpu"` // user + system since the start
	Memory      int64         `json:"memory"`
	MemoryLimit int64         `json:"memoryLimit,omitempty"` // 0 none
	MemoryPeak  int64         `json:"memoryPeak,omitempty"`
	PIDs        int64         `json:"pids"`
	ReadBytes   int64         `json:"readBytes"`
	WriteBytes  int64         `json:"writeBytes"`
	OOMKills    int64         `json:"oomKills"`
	Throttled   time.Duration `json:"throttled,omitempty"`
}
