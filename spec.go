package holdfast

import "net/netip"

// Kind says whether a service keeps its clients' context between requests.
type Kind string

// The two kinds of server.
const (
	Stateless Kind = "stateless"
	Stateful  Kind = "stateful"
)

// Mode says how many replicas a service has and whether they are meant to end.
type Mode string

// Modes of a service.
const (
	Replicated Mode = "replicated" // Spec.Replicas of it, kept running
	Global     Mode = "global"     // one per node, kept running
	Job        Mode = "job"        // runs to its end when triggered; see Spec.Triggers
)

// Spec is one service of an app, fully resolved: everything that a node needs to run it, and nothing that depends on a
// node. A Release keeps a Spec unchanged for ever. The zero value of each field means "not asked for"; defaults are
// filled in when the Compose file is loaded, so that `holdfast config` shows them.
type Spec struct {
	Name       string `json:"name"`
	Kind       Kind   `json:"kind"`
	KindReason string `json:"kindReason"` // why: "declared", "mounts volume data", …
	Mode       Mode   `json:"mode"`
	Replicas   int    `json:"replicas"` // for Replicated

	Image      string   `json:"image"`                // reference; pinned to a digest at deploy
	PullPolicy string   `json:"pullPolicy,omitempty"` // always, missing, never, daily, weekly, every_<duration>
	Runtime    string   `json:"runtime,omitempty"`    // "" is our own; runc, crun
	Isolation  string   `json:"isolation,omitempty"`  // "" or "container"
	Process    Process  `json:"process"`
	Security   Security `json:"security"`

	Resources    Resources         `json:"resources"`
	Mounts       []Mount           `json:"mounts,omitempty"`
	Files        []FileMount       `json:"files,omitempty"` // secrets and configs
	Networks     []Attachment      `json:"networks,omitempty"`
	NetworkMode  string            `json:"networkMode,omitempty"` // "", host, none, service:<name>
	ExtraHosts   []string          `json:"extraHosts,omitempty"`  // "name=ip"
	DNS          DNS               `json:"dns"`
	Hostname     string            `json:"hostname,omitempty"`
	Domainname   string            `json:"domainname,omitempty"`
	EndpointMode string            `json:"endpointMode,omitempty"` // vip (default) or dnsrr
	Ports        []Port            `json:"ports,omitempty"`
	Expose       []string          `json:"expose,omitempty"`
	Routes       []Route           `json:"routes,omitempty"`
	Health       Health            `json:"health"`
	Hooks        Hooks             `json:"hooks"`
	DependsOn    []Dependency      `json:"dependsOn,omitempty"` // sorted by service
	Restart      Restart           `json:"restart"`
	Update       Update            `json:"update"`
	Rollback     Update            `json:"rollback"`
	Placement    Placement         `json:"placement"`
	Logging      Logging           `json:"logging"`
	Triggers     []Trigger         `json:"triggers,omitempty"` // for Job
	Labels       map[string]string `json:"labels,omitempty"`   // of the container
	DeployLabels map[string]string `json:"deployLabels,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// Process is what runs in the container. Nil Entrypoint and Command mean the image's; empty ones are empty. An
// Entrypoint of its own drops the image's command, as in Docker.
type Process struct {
	Entrypoint  []string `json:"entrypoint"`
	Command     []string `json:"command"`
	Env         []string `json:"env,omitempty"` // "NAME=value", sorted
	WorkingDir  string   `json:"workingDir,omitempty"`
	User        string   `json:"user,omitempty"` // as in an image config: name|uid[:name|gid]
	GroupAdd    []string `json:"groupAdd,omitempty"`
	Umask       string   `json:"umask,omitempty"` // octal
	TTY         bool     `json:"tty,omitempty"`
	Stdin       bool     `json:"stdin,omitempty"`
	Init        bool     `json:"init,omitempty"` // a small PID 1 that reaps and forwards signals
	StopSignal  string   `json:"stopSignal,omitempty"`
	StopGrace   Duration `json:"stopGrace"` // from stop signal to SIGKILL
	OOMScoreAdj int      `json:"oomScoreAdj,omitempty"`
}

// Security is what the container may do. The zero value is the safe default: Docker's capabilities, default seccomp
// profile, no new privileges, masked paths, own user namespace where the kernel allows.
type Security struct {
	Privileged       bool              `json:"privileged,omitempty"`
	CapAdd           []string          `json:"capAdd,omitempty"`
	CapDrop          []string          `json:"capDrop,omitempty"`
	NewPrivileges    bool              `json:"newPrivileges,omitempty"` // security_opt no-new-privileges:false
	Seccomp          string            `json:"seccomp,omitempty"`       // "", unconfined, or a profile's JSON
	UnmaskPaths      bool              `json:"unmaskPaths,omitempty"`   // security_opt systempaths=unconfined
	ReadOnly         bool              `json:"readOnly,omitempty"`
	UserNS           string            `json:"userns,omitempty"` // "" or host
	PID              string            `json:"pid,omitempty"`    // "", host
	IPC              string            `json:"ipc,omitempty"`    // "", host, private, shareable
	UTS              string            `json:"uts,omitempty"`    // "", host
	CgroupNS         string            `json:"cgroupns,omitempty"`
	Sysctls          map[string]string `json:"sysctls,omitempty"`
	Ulimits          []Ulimit          `json:"ulimits,omitempty"` // sorted by name
	Devices          []Device          `json:"devices,omitempty"`
	DeviceCgroupRule []string          `json:"deviceCgroupRules,omitempty"`
	ShmBytes         int64             `json:"shmBytes,omitempty"` // 0 is 64 MiB
}

// Ulimit is a resource limit by its lower-case setrlimit(2) name without RLIMIT_. -1 is unlimited.
type Ulimit struct {
	Name string `json:"name"`
	Soft int64  `json:"soft"`
	Hard int64  `json:"hard"`
}

// Device is a host device that the container sees.
type Device struct {
	Source      string `json:"source"`
	Target      string `json:"target"`
	Permissions string `json:"permissions"` // of r, w, m
}

// Resources are limits (enforced) and reservations (counted when placing). 0 is none.
type Resources struct {
	CPUs             float64 `json:"cpus,omitempty"` // cores
	CPUShares        int64   `json:"cpuShares,omitempty"`
	CPUSet           string  `json:"cpuset,omitempty"`
	CPUPeriodMicros  int64   `json:"cpuPeriodMicros,omitempty"`
	CPUQuotaMicros   int64   `json:"cpuQuotaMicros,omitempty"`
	MemoryBytes      int64   `json:"memoryBytes,omitempty"`
	MemorySwapBytes  int64   `json:"memorySwapBytes,omitempty"` // memory + swap; -1 unlimited
	MemoryLowBytes   int64   `json:"memoryLowBytes,omitempty"`  // mem_reservation
	OOMKillDisable   bool    `json:"oomKillDisable,omitempty"`
	PIDs             int64   `json:"pids,omitempty"` // 0 is the default of 4096; -1 unlimited
	BlkioWeight      uint16  `json:"blkioWeight,omitempty"`
	BlkioRates       []Blkio `json:"blkioRates,omitempty"`
	ReservedCPUs     float64 `json:"reservedCPUs,omitempty"`
	ReservedMemBytes int64   `json:"reservedMemBytes,omitempty"`
}

// Blkio is a weight or rate limit of one block device.
type Blkio struct {
	Path string `json:"path"`
	What string `json:"what"` // weight, read-bps, write-bps, read-iops, write-iops
	Rate uint64 `json:"rate"`
}

// Mount is a volume, bind mount, tmpfs or image mount of a container.
type Mount struct {
	Type        string `json:"type"`             // volume, bind, tmpfs, image
	Source      string `json:"source,omitempty"` // volume: key in App.Volumes, "" anonymous; bind: absolute host path; image: reference
	Target      string `json:"target"`
	ReadOnly    bool   `json:"readOnly,omitempty"`
	Propagation string `json:"propagation,omitempty"` // bind
	Recursive   bool   `json:"recursive,omitempty"`   // bind: include submounts
	CreateHost  bool   `json:"createHost,omitempty"`  // bind: make a missing source
	NoCopy      bool   `json:"noCopy,omitempty"`      // volume: do not fill an empty one from the image
	Subpath     string `json:"subpath,omitempty"`     // volume, image
	SizeBytes   int64  `json:"sizeBytes,omitempty"`   // tmpfs
	FileMode    uint32 `json:"fileMode,omitempty"`    // tmpfs
}

// FileMount puts a File at a path in the container.
type FileMount struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Secret bool   `json:"secret,omitempty"`
	Target string `json:"target"` // absolute
	UID    int    `json:"uid,omitempty"`
	GID    int    `json:"gid,omitempty"`
	Mode   uint32 `json:"mode"` // permission bits
}

// Attachment puts a service on a network.
type Attachment struct {
	Network  string     `json:"network"` // key in App.Networks
	Aliases  []string   `json:"aliases,omitempty"`
	IPv4     netip.Addr `json:"ipv4,omitzero"` // fixed address; allowed for one replica only
	Priority int        `json:"priority,omitempty"`
}

// DNS is the resolver configuration of a container beside the built-in server.
type DNS struct {
	Servers []string `json:"servers,omitempty"`
	Search  []string `json:"search,omitempty"`
	Options []string `json:"options,omitempty"`
}

// Port publishes a container's port on nodes.
type Port struct {
	Name      string `json:"name,omitempty"`
	Target    uint16 `json:"target"`
	Published uint16 `json:"published"` // 0: chosen at deploy
	HostIP    string `json:"hostIP,omitempty"`
	Protocol  string `json:"protocol"` // tcp, udp
	Mode      string `json:"mode"`     // ingress: through the gateway; host: kernel DNAT on the replica's node
	// AppProtocol is Compose's app_protocol: "http" makes the gateway balance, hold and retry single requests on an
	// ingress port; "" does so when a Route goes to Target; anything else is relayed as bytes.
	AppProtocol string `json:"appProtocol,omitempty"`
}

// Health is how a service is judged.
type Health struct {
	Readiness *Probe `json:"readiness,omitempty"` // may it get requests; also gates rollouts
	Liveness  *Probe `json:"liveness,omitempty"`  // is it to be replaced; Compose's healthcheck is both
	Disabled  bool   `json:"disabled,omitempty"`  // nor is the image's own health check used
}

// Probe is one way to ask a replica how it is. Exactly one of HTTP, TCP and Exec is set.
type Probe struct {
	HTTP          *HTTPProbe `json:"http,omitempty"`
	TCP           uint16     `json:"tcp,omitempty"`  // port
	Exec          []string   `json:"exec,omitempty"` // argv; exit 0 is healthy
	Interval      Duration   `json:"interval"`
	Timeout       Duration   `json:"timeout"`
	Retries       int        `json:"retries"`     // failures in a row until unhealthy
	StartPeriod   Duration   `json:"startPeriod"` // failures in it do not count
	StartInterval Duration   `json:"startInterval"`
}

// HTTPProbe is healthy when a GET answers 200 to 399.
type HTTPProbe struct {
	Port uint16 `json:"port"`
	Path string `json:"path"`
	Host string `json:"host,omitempty"`
}

// Hooks run in (post-start, pre-stop) or before (pre-start) the container.
type Hooks struct {
	PreStart  []Hook `json:"preStart,omitempty"`
	PostStart []Hook `json:"postStart,omitempty"`
	PreStop   []Hook `json:"preStop,omitempty"`
}

// Hook is one command of Hooks.
type Hook struct {
	Image      string   `json:"image,omitempty"` // pre-start only; "" is the service's
	Command    []string `json:"command"`
	User       string   `json:"user,omitempty"`
	Privileged bool     `json:"privileged,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	Env        []string `json:"env,omitempty"`
	PerReplica bool     `json:"perReplica,omitempty"` // pre-start: before each replica, not once per release
}

// Dependency delays a service's first replica of a release.
type Dependency struct {
	Service   string `json:"service"`
	Condition string `json:"condition"` // started, healthy, completed
	Restart   bool   `json:"restart,omitempty"`
	Optional  bool   `json:"optional,omitempty"`
}

// Restart says what happens after a replica ended. The back-off between replacements doubles from Delay to MaxDelay
// while replicas keep failing young, and is reset by one that stays up for Window.
type Restart struct {
	Condition   string   `json:"condition"` // any, on-failure, none
	Delay       Duration `json:"delay"`
	MaxDelay    Duration `json:"maxDelay"`
	MaxAttempts int      `json:"maxAttempts,omitempty"` // 0 unlimited
	Window      Duration `json:"window"`
}

// Update says how replicas of one release give way to those of the next, or, as Spec.Rollback, back.
type Update struct {
	Order           string   `json:"order"`       // start-first, stop-first
	Parallelism     int      `json:"parallelism"` // 0 all at once
	Delay           Duration `json:"delay"`
	Monitor         Duration `json:"monitor"`         // a replica that fails within it of becoming ready fails the rollout
	FailureAction   string   `json:"failureAction"`   // rollback (default), pause, continue
	MaxFailureRatio float64  `json:"maxFailureRatio"` // of replicas, 0 to 1
	Deadline        Duration `json:"deadline"`        // a new replica not ready by then has failed
}

// Placement narrows where replicas may run.
type Placement struct {
	Constraints []string `json:"constraints,omitempty"` // "node.labels.disk == ssd"
	Spread      []string `json:"spread,omitempty"`      // node labels to spread over, in order
	MaxPerNode  int      `json:"maxPerNode,omitempty"`
}

// Logging bounds what is kept of a replica's output.
type Logging struct {
	Driver   string `json:"driver,omitempty"` // "", json-file, local: kept; none: not kept
	MaxBytes int64  `json:"maxBytes,omitempty"`
	MaxFiles int    `json:"maxFiles,omitempty"`
}

// Trigger starts a job on a schedule.
type Trigger struct {
	Cron        string `json:"cron"` // five fields or @daily …
	Timezone    string `json:"timezone,omitempty"`
	Concurrency string `json:"concurrency,omitempty"` // forbid, queue
	MissedFires string `json:"missedFires,omitempty"` // one, skip
}

// ImageRefs points at the reference of each image that the service needs: its own, those of its pre-start hooks and of
// its image mounts.
func (s *Spec) ImageRefs() []*string {
	refs := []*string{&s.Image}
	for i := range s.Hooks.PreStart {
		if s.Hooks.PreStart[i].Image != "" {
			refs = append(refs, &s.Hooks.PreStart[i].Image)
		}
	}
	for i := range s.Mounts {
		if s.Mounts[i].Type == "image" {
			refs = append(refs, &s.Mounts[i].Source)
		}
	}
	return refs
}
