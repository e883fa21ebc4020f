//go:build linux

package linux

import (
	"strconv"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // lets package cgroups set device rules
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
)

// limits are what a container's cgroup is set to. The device rules of a container that asks for none are set when its
// sandbox is parked.
type limits struct {
	resources *cgroups.Resources
	devices   bool // it asks for device rules of its own
	oomScore  *int
}

// parseLimits converts OCI resources.
func parseLimits(oci *specs.Spec) (*limits, error) {
	l := &limits{resources: &cgroups.Resources{SkipDevices: true}, oomScore: oci.Process.OOMScoreAdj}
	in := oci.Linux.Resources
	if in == nil {
		in = &specs.LinuxResources{}
	}
	if err := l.takeDevices(in.Devices, oci.Linux.Devices); err != nil {
		return nil, err
	}
	if in.Network != nil || len(in.Rdma) > 0 {
		return nil, holdfast.Errorf(holdfast.ErrUnsupported, "limits: network classes and RDMA")
	}
	out := l.resources
	if p := in.Pids; p != nil && p.Limit != nil {
		out.PidsLimit = p.Limit
	}
	takeMemory(out, in.Memory)
	takeCPU(out, in.CPU)
	takeBlockIO(out, in.BlockIO)
	for _, h := range in.HugepageLimits {
		out.HugetlbLimit = append(out.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: h.Pagesize, Limit: h.Limit})
	}
	if len(in.Unified) > 0 {
		if !cgroups.IsCgroup2UnifiedMode() {
			return nil, holdfast.Errorf(holdfast.ErrUnsupported, "limits: unified: this machine has cgroup v1")
		}
		out.Unified = in.Unified
	}
	return l, nil
}

func takeMemory(out *cgroups.Resources, in *specs.LinuxMemory) {
	if in == nil {
		return
	}
	set := func(to *int64, from *int64) {
		if from != nil {
			*to = *from
		}
	}
	set(&out.Memory, in.Limit)
	set(&out.MemoryReservation, in.Reservation)
	set(&out.MemorySwap, in.Swap)
	out.MemorySwappiness = in.Swappiness
	if in.DisableOOMKiller != nil {
		out.OomKillDisable = *in.DisableOOMKiller
	}
}

func takeCPU(out *cgroups.Resources, in *specs.LinuxCPU) {
	if in == nil {
		return
	}
	if in.Shares != nil {
		out.CpuShares = *in.Shares
		out.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*in.Shares)
	}
	if in.Quota != nil {
		out.CpuQuota = *in.Quota
	}
	if in.Period != nil {
		out.CpuPeriod = *in.Period
	}
	if in.RealtimePeriod != nil {
		out.CpuRtPeriod = *in.RealtimePeriod
	}
	if in.RealtimeRuntime != nil {
		out.CpuRtRuntime = *in.RealtimeRuntime
	}
	out.CpuBurst, out.CPUIdle = in.Burst, in.Idle
	out.CpusetCpus, out.CpusetMems = in.Cpus, in.Mems
}

func takeBlockIO(out *cgroups.Resources, in *specs.LinuxBlockIO) {
	if in == nil {
		return
	}
	if in.Weight != nil {
		out.BlkioWeight = *in.Weight
	}
	if in.LeafWeight != nil {
		out.BlkioLeafWeight = *in.LeafWeight
	}
	for _, d := range in.WeightDevice {
		var weight, leaf uint16
		if d.Weight != nil {
			weight = *d.Weight
		}
		if d.LeafWeight != nil {
			leaf = *d.LeafWeight
		}
		out.BlkioWeightDevice = append(out.BlkioWeightDevice, cgroups.NewWeightDevice(d.Major, d.Minor, weight, leaf))
	}
	for _, t := range []struct {
		from []specs.LinuxThrottleDevice
		to   *[]*cgroups.ThrottleDevice
	}{
		{in.ThrottleReadBpsDevice, &out.BlkioThrottleReadBpsDevice},
		{in.ThrottleWriteBpsDevice, &out.BlkioThrottleWriteBpsDevice},
		{in.ThrottleReadIOPSDevice, &out.BlkioThrottleReadIOPSDevice},
		{in.ThrottleWriteIOPSDevice, &out.BlkioThrottleWriteIOPSDevice},
	} {
		for _, d := range t.from {
			*t.to = append(*t.to, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
		}
	}
}

// takeDevices makes the device rules: nothing but the defaults, the rules in order, and the devices that are made.
func (l *limits) takeDevices(rules []specs.LinuxDeviceCgroup, made []specs.LinuxDevice) error {
	list := denyAll()
	for _, r := range rules {
		kind := devices.WildcardDevice
		if r.Type != "" && r.Type != "a" {
			kind = devices.Type(r.Type[0])
		}
		rule := &devices.Rule{Type: kind, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: devices.Permissions(r.Access), Allow: r.Allow}
		if r.Major != nil {
			rule.Major = *r.Major
		}
		if r.Minor != nil {
			rule.Minor = *r.Minor
		}
		if rule.Permissions == "" {
			rule.Permissions = "rwm"
		}
		if !kind.CanCgroup() || !rule.Permissions.IsValid() {
			return holdfast.Errorf(holdfast.ErrInvalid, "device rule %s %s: no such type or access", r.Type, r.Access)
		}
		l.devices = l.devices || r.Allow
		list = append(list, rule)
	}
	for _, d := range made {
		if kind := devices.Type(d.Type[0]); kind.CanCgroup() {
			l.devices = true
			list = append(list, &devices.Rule{Type: kind, Major: d.Major, Minor: d.Minor, Permissions: "rwm", Allow: true})
		}
	}
	l.resources.Devices = append(list, allowedDevices()...)
	l.resources.SkipDevices = !l.devices
	return nil
}

func denyAll() []*devices.Rule {
	return []*devices.Rule{{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "rwm"}}
}

// allowedDevices are the rules for what every container has in /dev: it may make any node, and open these.
func allowedDevices() []*devices.Rule {
	list := []*devices.Rule{
		{Type: devices.CharDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "m", Allow: true},
		{Type: devices.BlockDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "m", Allow: true},
		{Type: devices.CharDevice, Major: 5, Minor: 2, Permissions: "rwm", Allow: true},                  // ptmx
		{Type: devices.CharDevice, Major: 136, Minor: devices.Wildcard, Permissions: "rwm", Allow: true}, // pts
	}
	for _, d := range defaultDevices {
		list = append(list, &devices.Rule{Type: devices.CharDevice, Major: int64(d.major), Minor: int64(d.minor), Permissions: "rwm", Allow: true})
	}
	return list
}

// defaultLimits are what a parked sandbox gets.
func defaultLimits() *cgroups.Resources {
	return &cgroups.Resources{Devices: append(denyAll(), allowedDevices()...)}
}

// empty tells whether there is nothing to set beyond what a parked sandbox has.
func (l *limits) empty() bool {
	r := *l.resources
	return !l.devices && r.PidsLimit == nil && r.Memory == 0 && r.MemoryReservation == 0 && r.MemorySwap == 0 &&
		r.MemorySwappiness == nil && !r.OomKillDisable && r.CpuShares == 0 && r.CpuQuota == 0 && r.CpuPeriod == 0 &&
		r.CpuRtPeriod == 0 && r.CpuRtRuntime == 0 && r.CpuBurst == nil && r.CPUIdle == nil && r.CpusetCpus == "" &&
		r.CpusetMems == "" && r.BlkioWeight == 0 && r.BlkioLeafWeight == 0 && len(r.BlkioWeightDevice) == 0 &&
		len(r.BlkioThrottleReadBpsDevice) == 0 && len(r.BlkioThrottleWriteBpsDevice) == 0 &&
		len(r.BlkioThrottleReadIOPSDevice) == 0 && len(r.BlkioThrottleWriteIOPSDevice) == 0 &&
		len(r.HugetlbLimit) == 0 && len(r.Unified) == 0
}

// apply sets the sandbox's cgroup, and its process's place in the queue of those that are killed for memory.
func (l *limits) apply(b *box) error {
	if !l.empty() {
		if err := b.cgroup.set(l.resources); err != nil {
			return err
		}
	}
	if l.oomScore == nil {
		return nil
	}
	score := strconv.Itoa(min(max(*l.oomScore, -1000), 1000))
	if err := writeFile("/proc/"+strconv.Itoa(b.child.pid)+"/oom_score_adj", score); err != nil {
		return holdfast.Errorf(holdfast.ErrUnsupported, "set oomScoreAdj %s: %w", score, err)
	}
	return nil
}
