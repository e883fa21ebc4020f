//go:build linux

package oci

import (
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
)

// cgroup returns the cgroup that the program made for the container.
func (r *Runtime) cgroup(id string) (cgroups.Manager, error) {
	config := &cgroups.Cgroup{Path: path.Join(r.cfg.CgroupParent, id), Resources: &cgroups.Resources{SkipDevices: true}}
	var manager cgroups.Manager
	var err error
	if cgroups.IsCgroup2UnifiedMode() {
		manager, err = fs2.NewManager(config, path.Join("/sys/fs/cgroup", config.Path))
	} else {
		manager, err = fs.NewManager(config, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("open cgroup of %s: %w", id, err)
	}
	return manager, nil
}

// killCgroup ends all processes of the container.
func (r *Runtime) killCgroup(id string) error {
	manager, err := r.cgroup(id)
	if err != nil {
		return err
	}
	for range 32 { // a fork bomb is outrun: each round kills all that there were
		pids, err := manager.GetAllPids()
		if errors.Is(err, unix.ENOENT) || err == nil && len(pids) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list processes of %s: %w", id, err)
		}
		// Frozen while they are killed they cannot fork; a failure costs another round.
		_ = manager.Freeze(cgroups.Frozen)
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
		if err := manager.Freeze(cgroups.Thawed); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("thaw killed processes of %s: %w", id, err)
		}
	}
	return nil
}

func (r *Runtime) removeCgroup(id string) error {
	manager, err := r.cgroup(id)
	if err != nil {
		return err
	}
	return manager.Destroy()
}

func (r *Runtime) freeze(id string, state cgroups.FreezerState) error {
	manager, err := r.cgroup(id)
	if err == nil {
		err = manager.Freeze(state)
	}
	if err != nil {
		return fmt.Errorf("freeze %s to %s: %w", id, state, err)
	}
	return nil
}

// oomKills counts the processes that the kernel killed for memory.
func (r *Runtime) oomKills(id string) uint64 {
	manager, err := r.cgroup(id)
	if err != nil {
		return 0
	}
	n, err := manager.OOMKillCount()
	if err != nil {
		return 0 // the cgroup is gone, or has no limit
	}
	return n
}

func readStats(manager cgroups.Manager, now time.Time) (container.Stats, error) {
	s, err := manager.GetStats()
	if err != nil {
		return container.Stats{}, fmt.Errorf("read use of resources: %w", err)
	}
	const noLimit = 1 << 62 // version 1 says so by a number near the greatest
	m := s.MemoryStats
	cache, ok := m.Stats["total_inactive_file"]
	if !ok {
		cache = m.Stats["inactive_file"]
	}
	out := container.Stats{
		Time: now, CPU: time.Duration(s.CpuStats.CpuUsage.TotalUsage), PIDs: int64(s.PidsStats.Current),
		Memory: int64(m.Usage.Usage - min(cache, m.Usage.Usage)), MemoryPeak: int64(m.Usage.MaxUsage),
		Throttled: time.Duration(s.CpuStats.ThrottlingData.ThrottledTime),
	}
	if m.Usage.Limit < noLimit {
		out.MemoryLimit = int64(m.Usage.Limit)
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
