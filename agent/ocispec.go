package agent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/seccomp"
)

// ociSpec translates a service's spec, with its image's defaults, into an OCI runtime config. Mounts of volumes and
// files are added by the steps that prepare them.
func ociSpec(spec *holdfast.Spec, image imagespec.ImageConfig, hostname string) (*specs.Spec, error) {
	oci := container.DefaultSpec()
	oci.Hostname = hostname
	oci.Domainname = spec.Domainname
	oci.Annotations = maps.Clone(spec.Annotations)
	if err := setProcess(oci, spec, image, hostname); err != nil {
		return nil, err
	}
	if err := setSecurity(oci, spec); err != nil {
		return nil, err
	}
	if err := setResources(oci, spec); err != nil {
		return nil, err
	}
	return oci, nil
}

func setProcess(oci *specs.Spec, spec *holdfast.Spec, image imagespec.ImageConfig, hostname string) error {
	p := oci.Process
	p.Args = argv(spec.Process, image)
	if len(p.Args) == 0 {
		return holdfast.Errorf(holdfast.ErrInvalid, "service %s: neither the image nor the service names a command; set command", spec.Name)
	}
	p.Terminal = spec.Process.TTY
	if image.WorkingDir != "" {
		p.Cwd = image.WorkingDir
	}
	if spec.Process.WorkingDir != "" {
		p.Cwd = spec.Process.WorkingDir
	}
	p.Env = environment(p.Env, image.Env, []string{"HOSTNAME=" + hostname}, spec.Process.Env)
	if p.Terminal {
		p.Env = environment([]string{"TERM=xterm"}, p.Env)
	}
	if spec.Process.Umask != "" {
		mask, err := strconv.ParseUint(spec.Process.Umask, 8, 32)
		if err != nil {
			return holdfast.Errorf(holdfast.ErrInvalid, "service %s: umask %q is not an octal number", spec.Name, spec.Process.Umask)
		}
		umask := uint32(mask)
		p.User.Umask = &umask
	}
	if spec.Process.OOMScoreAdj != 0 {
		p.OOMScoreAdj = &spec.Process.OOMScoreAdj
	}
	for _, u := range spec.Security.Ulimits {
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)})
	}
	return nil
}

// argv is the command line: an entrypoint of the service's drops the image's command.
func argv(p holdfast.Process, image imagespec.ImageConfig) []string {
	entrypoint, command := image.Entrypoint, image.Cmd
	if p.Entrypoint != nil {
		entrypoint, command = p.Entrypoint, nil
	}
	if p.Command != nil {
		command = p.Command
	}
	return slices.Concat(entrypoint, command)
}

// environment merges lists of NAME=value; later ones win, order of first appearance is kept.
func environment(lists ...[]string) []string {
	var merged []string
	at := map[string]int{}
	for _, list := range lists {
		for _, entry := range list {
			name, _, _ := strings.Cut(entry, "=")
			if i, ok := at[name]; ok {
				merged[i] = entry
				continue
			}
			at[name] = len(merged)
			merged = append(merged, entry)
		}
	}
	return merged
}

func setSecurity(oci *specs.Spec, spec *holdfast.Spec) error {
	s := spec.Security
	caps, err := capabilities(s)
	if err != nil {
		return fmt.Errorf("service %s: %w", spec.Name, err)
	}
	oci.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	oci.Process.NoNewPrivileges = !s.NewPrivileges && !s.Privileged
	oci.Root.Readonly = s.ReadOnly
	oci.Linux.Sysctl = maps.Clone(s.Sysctls)
	if s.UnmaskPaths || s.Privileged {
		oci.Linux.MaskedPaths, oci.Linux.ReadonlyPaths = nil, nil
	}
	if s.Privileged {
		writableSystemMounts(oci)
	}
	if oci.Linux.Seccomp, err = seccompProfile(s, caps); err != nil {
		return fmt.Errorf("service %s: %w", spec.Name, err)
	}
	if s.ShmBytes > 0 {
		setShm(oci, s.ShmBytes)
	}
	return addDevices(oci, s)
}

func writableSystemMounts(oci *specs.Spec) {
	for i, m := range oci.Mounts {
		if m.Type == "sysfs" || m.Type == "cgroup" {
			oci.Mounts[i].Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "ro" })
		}
	}
}

func setShm(oci *specs.Spec, size int64) {
	for i, m := range oci.Mounts {
		if m.Destination != "/dev/shm" {
			continue
		}
		options := slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return strings.HasPrefix(o, "size=") })
		oci.Mounts[i].Options = append(options, fmt.Sprintf("size=%d", size))
	}
}

func seccompProfile(s holdfast.Security, caps []string) (*specs.LinuxSeccomp, error) {
	switch {
	case s.Privileged || s.Seccomp == "unconfined":
		return nil, nil
	case s.Seccomp == "":
		return seccomp.Default(caps)
	default:
		return seccomp.Parse([]byte(s.Seccomp), caps)
	}
}

func setResources(oci *specs.Spec, spec *holdfast.Spec) error {
	r := spec.Resources
	res := oci.Linux.Resources
	setCPU(res, r)
	setMemory(res, r)
	pids := r.PIDs
	switch {
	case pids == 0:
		pids = defaultPIDs
	case pids < 0:
		pids = -1
	}
	res.Pids = &specs.LinuxPids{Limit: &pids}
	return setBlockIO(res, spec.Name, r)
}

// defaultPIDs bounds the processes of a container whose service sets no limit.
const defaultPIDs = 4096

func setCPU(res *specs.LinuxResources, r holdfast.Resources) {
	cpu := &specs.LinuxCPU{Cpus: r.CPUSet}
	if r.CPUShares > 0 {
		shares := uint64(r.CPUShares)
		cpu.Shares = &shares
	}
	period, quota := uint64(100_000), int64(0)
	if r.CPUPeriodMicros > 0 {
		period = uint64(r.CPUPeriodMicros)
	}
	if r.CPUs > 0 {
		quota = int64(r.CPUs * float64(period))
	} else if r.CPUQuotaMicros > 0 {
		quota = r.CPUQuotaMicros
	}
	if quota > 0 {
		cpu.Quota, cpu.Period = &quota, &period
	}
	res.CPU = cpu
}

func setMemory(res *specs.LinuxResources, r holdfast.Resources) {
	mem := &specs.LinuxMemory{}
	if r.MemoryBytes > 0 {
		mem.Limit = &r.MemoryBytes
	}
	if r.MemorySwapBytes != 0 {
		mem.Swap = &r.MemorySwapBytes
	}
	if r.MemoryLowBytes > 0 {
		mem.Reservation = &r.MemoryLowBytes
	}
	if r.OOMKillDisable {
		mem.DisableOOMKiller = &r.OOMKillDisable
	}
	res.Memory = mem
}

func setBlockIO(res *specs.LinuxResources, service string, r holdfast.Resources) error {
	if r.BlkioWeight == 0 && len(r.BlkioRates) == 0 {
		return nil
	}
	io := &specs.LinuxBlockIO{}
	if r.BlkioWeight > 0 {
		io.Weight = &r.BlkioWeight
	}
	for _, rate := range r.BlkioRates {
		major, minor, err := deviceNumber(rate.Path)
		if err != nil {
			return fmt.Errorf("service %s: blkio_config: %w", service, err)
		}
		throttle := specs.LinuxThrottleDevice{Rate: rate.Rate}
		throttle.Major, throttle.Minor = major, minor
		switch rate.What {
		case "weight":
			weight := specs.LinuxWeightDevice{}
			weight.Major, weight.Minor = major, minor
			w := uint16(rate.Rate)
			weight.Weight = &w
			io.WeightDevice = append(io.WeightDevice, weight)
		case "read-bps":
			io.ThrottleReadBpsDevice = append(io.ThrottleReadBpsDevice, throttle)
		case "write-bps":
			io.ThrottleWriteBpsDevice = append(io.ThrottleWriteBpsDevice, throttle)
		case "read-iops":
			io.ThrottleReadIOPSDevice = append(io.ThrottleReadIOPSDevice, throttle)
		case "write-iops":
			io.ThrottleWriteIOPSDevice = append(io.ThrottleWriteIOPSDevice, throttle)
		}
	}
	res.BlockIO = io
	return nil
}
