package holdfast

// ImageSource says how to make an image that no registry has. Exactly one of its pointers, or Tar, is set.
type ImageSource struct {
	// Ref is the repository it is stored under, without a tag: "holdfast.local/<app>/<service>" or what the file's
	// image key says. The builder adds a tag made of all the inputs' digest, so equal inputs are built once.
	Ref    string        `json:"ref"`
	Debian *DebianSource `json:"debian,omitempty"`
	Go     *GoSource     `json:"go,omitempty"`
	Build  *BuildSource  `json:"build,omitempty"`
	Tar    string        `json:"tar,omitempty"` // path: docker save, OCI layout or rootfs tar (by content)
}

// DebianSource makes a minimal image from Debian packages with mmdebstrap, with no registry.
type DebianSource struct {
	Packages []string          `json:"packages"`
	Suite    string            `json:"suite,omitempty"`   // default: the host's, else stable
	Variant  string            `json:"variant,omitempty"` // extract (default: small, no maintainer scripts), apt, minbase, …
	Run      []string          `json:"run,omitempty"`     // shell commands run in the root file system at the end
	Copy     map[string]string `json:"copy,omitempty"`    // absolute path in the image → absolute path here
	Users    map[string]int    `json:"users,omitempty"`   // extra users: name → uid (and gid)
}

// GoSource makes an image of one static binary from a Go main package.
type GoSource struct {
	Dir     string   `json:"dir"`     // absolute: where `go build` runs
	Package string   `json:"package"` // "./cmd/api"
	Flags   []string `json:"flags,omitempty"`
	Env     []string `json:"env,omitempty"`
}

// BuildSource is Compose's build section, resolved, for buildah, buildctl or docker.
type BuildSource struct {
	Context          string            `json:"context"` // absolute path or URL
	Dockerfile       string            `json:"dockerfile,omitempty"`
	DockerfileInline string            `json:"dockerfileInline,omitempty"`
	Target           string            `json:"target,omitempty"`
	Args             map[string]string `json:"args,omitempty"`
	Labels           map[string]string `json:"labels,omitempty"`
	CacheFrom        []string          `json:"cacheFrom,omitempty"`
	Tags             []string          `json:"tags,omitempty"`
	Secrets          []BuildSecret     `json:"secrets,omitempty"`
	ExtraHosts       []string          `json:"extraHosts,omitempty"`
	Network          string            `json:"network,omitempty"`
	Platform         string            `json:"platform,omitempty"`
	NoCache          bool              `json:"noCache,omitempty"`
	Pull             bool              `json:"pull,omitempty"`
	ShmBytes         int64             `json:"shmBytes,omitempty"`
}

// BuildSecret is a file that the build may read and that does not end up in the image.
type BuildSecret struct {
	ID   string `json:"id"`
	File string `json:"file,omitempty"`
	Env  string `json:"env,omitempty"`
}
