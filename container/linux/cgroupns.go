//go:build linux

package linux

import (
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/cgroups"
)

// v1Controllers lists the cgroup v1 hierarchies of this machine by the names of their directories below /sys/fs/cgroup
// ("cpu,cpuacct"). Empty with cgroup v2 alone.
var v1Controllers = sync.OnceValue(func() []string {
	if cgroups.IsCgroup2UnifiedMode() {
		return nil
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var names []string
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !strings.HasPrefix(after, "cgroup ") || len(fields) < 5 {
			continue
		}
		if name, ok := strings.CutPrefix(fields[4], unifiedRoot+"/"); ok && !strings.Contains(name, "/") && name != "systemd" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
})

// cgroupMounts lists the file systems that make up /sys/fs/cgroup in a container.
func cgroupMounts() []ownFS {
	names := v1Controllers()
	if len(names) == 0 {
		return []ownFS{{"cgroup2", "cgroup2", ""}}
	}
	const most = 20 // registers are few
	var list []ownFS
	for _, name := range names[:min(len(names), most)] {
		list = append(list, ownFS{"cgroup/" + name, "cgroup", name})
	}
	return list
}
