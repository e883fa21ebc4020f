package containertest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

var limitTests = []contractTest{
	{"stats", []Feature{Kernel}, testStats},
	{"stats-ended", nil, testStatsEnded},
	{"memory", []Feature{Kernel}, testMemory},
	{"oom", []Feature{Kernel, OOM}, testOOM},
	{"pids", []Feature{Kernel}, testPIDs},
	{"cpu", []Feature{Kernel}, testCPU},
	{"unknown-field", []Feature{Kernel}, testUnknownField},
}

func testStats(h *harness) {
	id := h.start([]string{"spin", "60ms"}).ID
	h.says(id, "asleep")
	stats, err := h.rt.Stats(h.Context(), id)
	must(h, err)
	if stats.CPU < 50*time.Millisecond || stats.CPU > patience {
		h.Errorf("CPU time %v", stats.CPU)
	}
	if stats.Memory <= 0 || stats.PIDs <= 0 || time.Since(stats.Time) > patience || stats.OOMKills != 0 {
		h.Errorf("%+v", stats)
	}
	id = h.start([]string{"alloc", "24"}).ID
	h.says(id, "asleep")
	stats, err = h.rt.Stats(h.Context(), id)
	must(h, err)
	if stats.Memory < 24<<20 {
		h.Errorf("memory %d", stats.Memory)
	}
	equal(h, "limit", stats.MemoryLimit, 0)
}

func testStatsEnded(h *harness) {
	id := h.start([]string{"exit", "0"}).ID
	h.exited(id)
	if _, err := h.rt.Stats(h.Context(), id); !errors.Is(err, holdfast.ErrNotFound) {
		h.Errorf("stats of an ended container: %v", err)
	}
}

func memory(bytes int64) option {
	return func(s *container.Spec) {
		s.OCI.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &bytes, Swap: &bytes}
	}
}

func testMemory(h *harness) {
	id := h.start([]string{"alloc", "8"}, memory(40<<20)).ID
	h.says(id, "asleep")
	stats, err := h.rt.Stats(h.Context(), id)
	must(h, err)
	equal(h, "limit", stats.MemoryLimit, 40<<20)
	if stats.Memory < 8<<20 || stats.Memory > 40<<20 || stats.MemoryPeak < stats.Memory/2 {
		h.Errorf("%+v", stats)
	}
}

func testOOM(h *harness) {
	status := h.exited(h.start([]string{"alloc", "100"}, memory(40<<20)).ID)
	equal(h, "exit code", status.ExitCode, 137)
	equal(h, "out of memory", status.OOM, true)
	h.reopen()
	equal(h, "out of memory, after a restart", h.list()[status.ID].OOM, true)
	status = h.start([]string{"ignore"}, memory(40<<20))
	must(h, h.rt.Kill(h.Context(), status.ID))
	equal(h, "out of memory when killed", h.exited(status.ID).OOM, false)
}

func testPIDs(h *harness) {
	limit := int64(20)
	id := h.start([]string{"fork", "40"}, func(s *container.Spec) { s.OCI.Linux.Resources.Pids = &specs.LinuxPids{Limit: &limit} }).ID
	h.says(id, "started ")
	var started int
	_, err := fmt.Sscan(lineWith(h, h.log(id), "started "), &started)
	must(h, err)
	if started == 0 || started >= 20 {
		h.Errorf("%d children with a limit of 20 tasks", started)
	}
}

func testCPU(h *harness) {
	quota, period, shares := int64(20_000), uint64(100_000), uint64(512)
	id := h.start([]string{"spin", "80ms"}, func(s *container.Spec) {
		s.OCI.Linux.Resources.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares}
	}).ID
	h.says(id, "asleep")
	stats, err := h.rt.Stats(h.Context(), id)
	must(h, err)
	if stats.Throttled <= 0 {
		h.Errorf("80 ms of work with 20 ms in each 100 were not throttled: %+v", stats)
	}
}

// A field that a runtime cannot honour is an error, never ignored.
func testUnknownField(h *harness) {
	for name, change := range map[string]option{
		"mount type": func(s *container.Spec) {
			s.OCI.Mounts = append(s.OCI.Mounts, specs.Mount{Destination: "/x", Type: "nothing", Source: "nothing"})
		},
		"rlimit":      func(s *container.Spec) { s.OCI.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOTHING"}} },
		"seccomp":     func(s *container.Spec) { s.OCI.Linux.Seccomp.DefaultAction = "SCMP_ACT_NOTHING" },
		"propagation": func(s *container.Spec) { s.OCI.Linux.RootfsPropagation = "sideways" },
		"namespaces":  func(s *container.Spec) { s.OCI.Linux.Namespaces = []specs.LinuxNamespace{{Type: "net"}} },
		"hooks":       func(s *container.Spec) { s.OCI.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "/bin/true"}}} },
		"windows":     func(s *container.Spec) { s.OCI.Windows = &specs.Windows{} },
		"apparmor":    func(s *container.Spec) { s.OCI.Process.ApparmorProfile = "nothing" },
		"capability":  func(s *container.Spec) { s.OCI.Process.Capabilities.Bounding = []string{"CAP_NOTHING"} },
	} {
		_, err := h.rt.Start(h.Context(), h.spec([]string{"sleep"}, change))
		if err == nil {
			h.Errorf("%s was ignored", name)
		} else if kind := holdfast.KindOf(err); kind != holdfast.ErrInvalid && kind != holdfast.ErrUnsupported {
			h.Errorf("%s: kind %v of %v", name, kind, err)
		} else if strings.TrimSpace(err.Error()) == "" {
			h.Errorf("%s: an error without words", name)
		}
	}
}
