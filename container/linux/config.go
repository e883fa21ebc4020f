//go:build linux

package linux

import (
	"log/slog"
	"path/filepath"
	"time"

	"github.com/holdfast/holdfast"
)

// Config says where a Runtime keeps its things. The zero value of a field takes the default named with it.
type Config struct {
	// Dir holds each container's state and writable layer: /var/lib/holdfast/containers. It must be on a file system
	// that can be an overlay's upper layer (ext4, xfs, btrfs, tmpfs).
	Dir string
	// RunDir holds what does not survive a reboot, pipes and mount points: /run/holdfast/containers.
	RunDir string
	// CgroupParent is the cgroup, from the root of the hierarchy, below which containers get theirs: /holdfast.
	CgroupParent string
	// IDBase is the first user and group id on the node that containers are mapped to, IDSize how many each gets, and
	// IDRanges how many containers can have one at a time: 0x70000000, 65536, 4094.
	IDBase, IDSize, IDRanges uint32
	// HostUserNS turns user namespaces off for all containers.
	HostUserNS bool
	// BootID tells one boot of the machine from another: the kernel's boot_id.
	BootID string
	// Log: slog.Default().
	Log *slog.Logger
	// Now: time.Now.
	Now func() time.Time
}

// Validate fills in the defaults and reports what is wrong.
func (c *Config) Validate() error {
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	defID := func(p *uint32, v uint32) {
		if *p == 0 {
			*p = v
		}
	}
	def(&c.Dir, "/var/lib/holdfast/containers")
	def(&c.RunDir, "/run/holdfast/containers")
	def(&c.CgroupParent, "/holdfast")
	defID(&c.IDBase, 0x70000000)
	defID(&c.IDSize, 65536)
	defID(&c.IDRanges, 4094)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for _, dir := range []string{c.Dir, c.RunDir, c.CgroupParent} {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir || dir == "/" {
			return holdfast.Errorf(holdfast.ErrInvalid, "container runtime: %q is not a clean absolute path", dir)
		}
	}
	if uint64(c.IDBase)+uint64(c.IDSize)*uint64(c.IDRanges) > 1<<32-2 {
		return holdfast.Errorf(holdfast.ErrInvalid, "container runtime: id ranges from %d do not fit in 32 bits", c.IDBase)
	}
	return nil
}
