package compose

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

func (e *entry) resources() {
	c, r := &e.c, &e.spec.Resources
	limits, reserved := &types.Resource{}, &types.Resource{}
	if c.Deploy != nil {
		limits = cmp.Or(c.Deploy.Resources.Limits, limits)
		reserved = cmp.Or(c.Deploy.Resources.Reservations, reserved)
	}
	r.CPUs = decimal(e.agree("cpus", "cpus", c.CPUS, limits.NanoCPUs.Value()))
	r.MemoryBytes = int64(e.agreeBytes("mem_limit", "limits.memory", c.MemLimit, limits.MemoryBytes))
	r.ReservedMemBytes = int64(e.agreeBytes("mem_reservation", "reservations.memory", c.MemReservation, reserved.MemoryBytes))
	r.MemoryLowBytes = int64(c.MemReservation)
	r.ReservedCPUs = decimal(reserved.NanoCPUs.Value())
	e.pids(limits)
	e.cpuTuning()
	e.memoryTuning()
	e.blkio()
	if r.CPUs > 0 && r.ReservedCPUs > r.CPUs {
		e.bad(at("deploy", "resources", "reservations", "cpus"), "%g reserved is more than the limit of %g", r.ReservedCPUs, r.CPUs)
	}
	if r.MemoryBytes > 0 && r.ReservedMemBytes > r.MemoryBytes {
		e.bad(at("deploy", "resources", "reservations", "memory"), "more is reserved than the limit allows")
	}
}

// decimal widens a float32 to the number that was written: 0.1 and not 0.10000000149.
func decimal(f float32) float64 {
	v, err := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
	if err != nil {
		return float64(f)
	}
	return v
}

// agree returns the one of two spellings of a limit that is set.
func (e *entry) agree(key, deployKey string, short, long float32) float32 {
	if short < 0 || long < 0 {
		e.bad(at(key), "is negative")
	}
	if short != 0 && long != 0 && short != long {
		e.bad(at(key), "%g here and %g in deploy.resources.limits.%s: give one", short, long, deployKey)
	}
	return cmp.Or(long, short)
}

func (e *entry) agreeBytes(key, deployKey string, short, long types.UnitBytes) types.UnitBytes {
	if short < 0 || long < 0 {
		e.bad(at(key), "is negative")
	}
	if short != 0 && long != 0 && short != long {
		e.bad(at(key), "%d bytes here and %d in deploy.resources.%s: give one", short, long, deployKey)
	}
	return cmp.Or(long, short)
}

func (e *entry) pids(limits *types.Resource) {
	if e.c.PidsLimit != 0 && limits.Pids != 0 && e.c.PidsLimit != limits.Pids {
		e.bad(at("pids_limit"), "%d here and %d in deploy.resources.limits.pids: give one", e.c.PidsLimit, limits.Pids)
	}
	pids := cmp.Or(limits.Pids, e.c.PidsLimit)
	if pids < -1 {
		e.bad(at("pids_limit"), "is a number of processes, or -1 for no limit")
	}
	if pids == 0 && (e.sets("pids_limit") || e.sets("deploy", "resources", "limits", "pids")) {
		pids = -1
	}
	fill(e, "resources.pids", &pids, defaultPIDs, pids != 0)
	e.spec.Resources.PIDs = pids
}

var cpuSet = regexp.MustCompile(`^\d+(-\d+)?(,\d+(-\d+)?)*$`)

func (e *entry) cpuTuning() {
	c, r := &e.c, &e.spec.Resources
	r.CPUShares, r.CPUSet, r.CPUPeriodMicros, r.CPUQuotaMicros = c.CPUShares, c.CPUSet, c.CPUPeriod, c.CPUQuota
	if c.CPUSet != "" && !cpuSet.MatchString(c.CPUSet) {
		e.bad(at("cpuset"), "%q is not a list of CPUs such as 0-3,5", c.CPUSet)
	}
	if c.CPUShares < 0 || c.CPUShares == 1 {
		e.bad(at("cpu_shares"), "must be 2 or more")
	}
	if c.CPUPeriod != 0 && (c.CPUPeriod < 1000 || c.CPUPeriod > 1000000) {
		e.bad(at("cpu_period"), "must be between 1000 and 1000000 microseconds")
	}
	if c.CPUQuota != 0 && c.CPUQuota < 1000 && c.CPUQuota != -1 {
		e.bad(at("cpu_quota"), "must be at least 1000 microseconds, or -1 for none")
	}
	if r.CPUs > 0 && (c.CPUPeriod != 0 || c.CPUQuota != 0) {
		e.bad(at("cpus"), "says the same as cpu_period and cpu_quota: give one")
	}
}

func (e *entry) memoryTuning() {
	c, r := &e.c, &e.spec.Resources
	r.MemorySwapBytes, r.OOMKillDisable = int64(c.MemSwapLimit), c.OomKillDisable
	if c.MemSwapLimit > 0 && r.MemoryBytes == 0 && !e.cut(e.at.at("mem_limit")) {
		e.bad(at("memswap_limit"), "needs mem_limit as well: it is the sum of memory and swap")
	} else if c.MemSwapLimit > 0 && int64(c.MemSwapLimit) < r.MemoryBytes {
		e.bad(at("memswap_limit"), "is below mem_limit: it is the sum of memory and swap")
	} else if c.MemSwapLimit < -1 {
		e.bad(at("memswap_limit"), "is a size, or -1 for no limit")
	}
}

// blkio turns blkio_config into one list, sorted.
func (e *entry) blkio() {
	b := e.c.BlkioConfig
	if b == nil {
		return
	}
	r := &e.spec.Resources
	if b.Weight != 0 && (b.Weight < 10 || b.Weight > 1000) {
		e.bad(at("blkio_config", "weight"), "must be between 10 and 1000")
	}
	r.BlkioWeight = b.Weight
	for i, w := range b.WeightDevice {
		e.devicePath(at("blkio_config", "weight_device", i, "path"), w.Path)
		r.BlkioRates = append(r.BlkioRates, holdfast.Blkio{Path: w.Path, What: "weight", Rate: uint64(w.Weight)})
	}
	for _, list := range []struct {
		key, what string
		rates     []types.ThrottleDevice
	}{
		{"device_read_bps", "read-bps", b.DeviceReadBps},
		{"device_write_bps", "write-bps", b.DeviceWriteBps},
		{"device_read_iops", "read-iops", b.DeviceReadIOps},
		{"device_write_iops", "write-iops", b.DeviceWriteIOps},
	} {
		for i, t := range list.rates {
			e.devicePath(at("blkio_config", list.key, i, "path"), t.Path)
			if t.Rate <= 0 {
				e.bad(at("blkio_config", list.key, i, "rate"), "must be above 0")
			}
			r.BlkioRates = append(r.BlkioRates, holdfast.Blkio{Path: t.Path, What: list.what, Rate: uint64(t.Rate)})
		}
	}
	slices.SortFunc(r.BlkioRates, func(a, b holdfast.Blkio) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.What, b.What))
	})
}

func (e *entry) devicePath(where []any, name string) {
	if !strings.HasPrefix(name, "/dev/") {
		e.bad(where, "%q is not a device under /dev", name)
	}
}
