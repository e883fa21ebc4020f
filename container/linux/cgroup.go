//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
)

// cgroup is a container's cgroup, in every hierarchy that there is.
type cgroup struct {
	manager cgroups.Manager
}

const unifiedRoot = "/sys/fs/cgroup"

// newCgroup describes the cgroup called name below parent; attach makes it.
func newCgroup(parent, name string) (*cgroup, error) {
	config := &cgroups.Cgroup{Path: path.Join(parent, name), Resources: &cgroups.Resources{}}
	var manager cgroups.Manager
	var err error
	if cgroups.IsCgroup2UnifiedMode() {
		manager, err = fs2.NewManager(config, path.Join(unifiedRoot, config.Path))
	} else {
		manager, err = fs.NewManager(config, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("open cgroup %s: %w", config.Path, err)
	}
	return &cgroup{manager: manager}, nil
}

// attach makes the cgroup where it is not there and moves pid into it. The first attach in a while takes 8 to 15 ms in
// the kernel.
func (c *cgroup) attach(pid int) error {
	if err := c.manager.Apply(pid); err != nil {
		return fmt.Errorf("attach process to cgroup: %w", err)
	}
	return nil
}

// EnterCgroup moves this process into the cgroup called name below parent.
func EnterCgroup(parent, name string) error {
	c, err := newCgroup(parent, name)
	if err != nil {
		return err
	}
	return c.attach(os.Getpid())
}

// set applies limits.
func (c *cgroup) set(r *cgroups.Resources) error {
	if err := c.manager.Set(r); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	return nil
}

// exists tells whether anything of the cgroup is there.
func (c *cgroup) exists() bool { return c.manager.Exists() }

// killAll sends SIGKILL to every process in the cgroup until none is left that was there.
func (c *cgroup) killAll() error {
	for range 32 { // a fork bomb is outrun by freezing it first
		pids, err := c.manager.GetAllPids()
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list processes: %w", err)
		}
		if len(pids) == 0 {
			return nil
		}
		if len(pids) > 1 {
			_ = c.manager.Freeze(cgroups.Frozen) // without a freezer the loop still ends
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if err := c.manager.Freeze(cgroups.Thawed); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("thaw killed processes: %w", err)
		}
	}
	return nil
}

// remove deletes the cgroup. Its last process may still be on its way out: the library retries for a while.
func (c *cgroup) remove() error { return c.manager.Destroy() }

func (c *cgroup) freeze(state cgroups.FreezerState) error {
	if err := c.manager.Freeze(state); err != nil {
		return fmt.Errorf("freeze to state %s: %w", state, err)
	}
	return nil
}

func (c *cgroup) frozen() bool {
	state, err := c.manager.GetFreezerState()
	return err == nil && state == cgroups.Frozen
}

// oomKills counts the processes that the kernel killed for memory.
func (c *cgroup) oomKills() uint64 {
	n, err := c.manager.OOMKillCount()
	if err != nil {
		return 0
	}
	return n
}

func (c *cgroup) stats(now time.Time) (container.Stats, error) {
	s, err := c.manager.GetStats()
	if err != nil {
		return container.Stats{}, fmt.Errorf("read use of resources: %w", err)
	}
	out := container.Stats{
		Time:       now,
		CPU:        time.Duration(s.CpuStats.CpuUsage.TotalUsage),
		Memory:     workingSet(s.MemoryStats),
		MemoryPeak: int64(s.MemoryStats.Usage.MaxUsage),
		PIDs:       int64(s.PidsStats.Current),
		OOMKills:   int64(c.oomKills()),
		Throttled:  time.Duration(s.CpuStats.ThrottlingData.ThrottledTime),
	}
	const noLimit = 1 << 62 // v1 says so by a number near the greatest
	if limit := s.MemoryStats.Usage.Limit; limit < noLimit {
		out.MemoryLimit = int64(limit)
	}
	for _, e := range s.BlkioStats.IoServiceBytesRecursive {
		switch e.Op {
		case "Read", "rbytes":
			out.ReadBytes += int64(e.Value)
		case "Write", "wbytes":
			out.WriteBytes += int64(e.Value)
		}
	}
	return out, nil
}

// workingSet is the memory in use without the file cache that the kernel would give back first.
func workingSet(m cgroups.MemoryStats) int64 {
	used := m.Usage.Usage
	inactive, ok := m.Stats["total_inactive_file"]
	if !ok {
		inactive = m.Stats["inactive_file"]
	}
	return int64(used - min(inactive, used))
}
