//go:build linux

package oci

import (
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/seccomp"
)

func invalid(format string, args ...any) error {
	return holdfast.Errorf(holdfast.ErrInvalid, format, args...)
}

// check refuses what the contract of container.Spec does not name, and what the programs would let pass.
func check(spec container.Spec) error {
	c := spec.OCI
	switch {
	case spec.ID == "" || spec.ID != path.Base(spec.ID) || strings.HasPrefix(spec.ID, "."):
		return invalid("container ID %q", spec.ID)
	case c == nil || c.Process == nil || len(c.Process.Args) == 0:
		return invalid("container %s has no command", spec.ID)
	}
	for name, field := range map[string]any{
		"hooks": c.Hooks, "solaris": c.Solaris, "windows": c.Windows, "vm": c.VM, "zos": c.ZOS, "freebsd": c.FreeBSD,
		"domainname": c.Domainname, "process.commandLine": c.Process.CommandLine, "process.apparmorProfile": c.Process.ApparmorProfile,
		"process.selinuxLabel": c.Process.SelinuxLabel, "process.scheduler": c.Process.Scheduler,
		"process.ioPriority": c.Process.IOPriority, "process.execCPUAffinity": c.Process.ExecCPUAffinity,
		"process.user.username": c.Process.User.Username,
	} {
		if !reflect.ValueOf(field).IsZero() {
			return holdfast.Errorf(holdfast.ErrUnsupported, "container %s: %s is not supported", spec.ID, name)
		}
	}
	if err := checkMounts(c.Mounts); err != nil {
		return err
	}
	if !ownDev(c.Mounts) {
		return holdfast.Errorf(holdfast.ErrUnsupported, "container %s: /dev must be a tmpfs: the image's may lead the OCI "+
			"runtime out of the container (CVE-2025-31133, CVE-2025-52565)", spec.ID)
	}
	return checkLinux(spec.ID, c.Linux)
}

// ownDev reports whether /dev is the runtime's own making.
func ownDev(mounts []specs.Mount) bool {
	return slices.ContainsFunc(mounts, func(m specs.Mount) bool {
		return path.Clean(m.Destination) == "/dev" && m.Type == "tmpfs"
	})
}

func checkLinux(id string, l *specs.Linux) error {
	if l == nil {
		return nil
	}
	for name, field := range map[string]any{
		"namespaces": l.Namespaces, "uidMappings": l.UIDMappings, "gidMappings": l.GIDMappings, "cgroupsPath": l.CgroupsPath,
		"mountLabel": l.MountLabel, "intelRdt": l.IntelRdt, "memoryPolicy": l.MemoryPolicy, "personality": l.Personality,
		"timeOffsets": l.TimeOffsets, "netDevices": l.NetDevices,
	} {
		if !reflect.ValueOf(field).IsZero() {
			return holdfast.Errorf(holdfast.ErrUnsupported, "container %s: linux.%s is not supported", id, name)
		}
	}
	switch l.RootfsPropagation {
	case "", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable":
	default:
		return invalid("root file system propagation %q", l.RootfsPropagation)
	}
	if _, _, err := seccomp.Compile(l.Seccomp); err != nil {
		return err
	}
	return checkSysctls(l.Sysctl)
}

// checkMounts refuses what crun takes for something else.
func checkMounts(mounts []specs.Mount) error {
	for _, m := range mounts {
		if !path.IsAbs(m.Destination) {
			return invalid("mount at %q: not an absolute path", m.Destination)
		}
	}
	return nil
}

// ownSysctls are what belongs to a container's namespaces; names that end in a dot are prefixes.
var ownSysctls = []string{
	"net.", "fs.mqueue.", "kernel.domainname", "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
	"kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
}

// checkSysctls lets only those through that change nothing on the node (the class of CVE-2022-0811).
func checkSysctls(values map[string]string) error {
	for name := range values {
		dotted := strings.ReplaceAll(name, "/", ".")
		ok := false
		for _, own := range ownSysctls {
			ok = ok || dotted == own || strings.HasSuffix(own, ".") && strings.HasPrefix(dotted, own)
		}
		if !ok || strings.Contains(dotted, "..") {
			return invalid("sysctl %s is not the container's own", name)
		}
	}
	return nil
}

// checkCapabilities refuses unknown ones, which the programs drop with a warning.
func checkCapabilities(c *specs.LinuxCapabilities) error {
	if c == nil {
		return nil
	}
	for _, set := range [][]string{c.Bounding, c.Effective, c.Permitted, c.Inheritable, c.Ambient} {
		for _, name := range set {
			if !slices.Contains(capabilityOrder, name) {
				return invalid("unknown capability %q", name)
			}
		}
	}
	return nil
}

// capabilityOrder are all capabilities by number.
var capabilityOrder = func() []string {
	names := strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
		LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
		SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
		AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
		CHECKPOINT_RESTORE`)
	for i, n := range names {
		names[i] = "CAP_" + n
	}
	return names
}()
