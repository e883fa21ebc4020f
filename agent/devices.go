package agent

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// capabilities returns the capabilities that s leaves, in the order of allCapabilities.
func capabilities(s holdfast.Security) ([]string, error) {
	if s.Privileged {
		return slices.Clone(allCapabilities), nil
	}
	set := map[string]bool{}
	for _, c := range container.DefaultCapabilities {
		set[c] = true
	}
	if err := change(set, s.CapDrop, false); err != nil {
		return nil, fmt.Errorf("cap_drop: %w", err)
	}
	if err := change(set, s.CapAdd, true); err != nil {
		return nil, fmt.Errorf("cap_add: %w", err)
	}
	kept := []string{}
	for _, c := range allCapabilities {
		if set[c] {
			kept = append(kept, c)
		}
	}
	return kept, nil
}

func change(set map[string]bool, names []string, keep bool) error {
	for _, name := range names {
		name = strings.ToUpper(name)
		if name == "ALL" {
			for _, c := range allCapabilities {
				set[c] = keep
			}
			continue
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if !slices.Contains(allCapabilities, name) {
			return holdfast.Errorf(holdfast.ErrInvalid, "unknown capability %s; see capabilities(7)", name)
		}
		set[name] = keep
	}
	return nil
}

// allCapabilities in the order of capabilities(7)'s numbers.
var allCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// defaultDeviceRules lets a container use the devices that every container has: null, zero, full, random, urandom,
// tty, console, ptmx and pts; and make, but not use, any other node.
var defaultDeviceRules = []string{
	"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm",
	"c 5:2 rwm", "c 136:* rwm",
}

func addDevices(oci *specs.Spec, s holdfast.Security) error {
	if s.Privileged {
		oci.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		return nil
	}
	rules := []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	for _, text := range slices.Concat(defaultDeviceRules, s.DeviceCgroupRule) {
		rule, err := deviceRule(text)
		if err != nil {
			return err
		}
		rules = append(rules, rule)
	}
	for _, wanted := range s.Devices {
		devices, err := expandDevice(wanted)
		if err != nil {
			return err
		}
		for _, d := range devices {
			device, rule, err := hostDevice(d)
			if err != nil {
				return err
			}
			oci.Linux.Devices = append(oci.Linux.Devices, device)
			rules = append(rules, rule)
		}
	}
	oci.Linux.Resources.Devices = rules
	return nil
}

func hostDevice(d holdfast.Device) (specs.LinuxDevice, specs.LinuxDeviceCgroup, error) {
	var st unix.Stat_t
	if err := unix.Stat(d.Source, &st); err != nil {
		return specs.LinuxDevice{}, specs.LinuxDeviceCgroup{}, holdfast.Errorf(holdfast.ErrInvalid, "device %s: %w", d.Source, err)
	}
	kind := ""
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "c"
	case unix.S_IFBLK:
		kind = "b"
	default:
		return specs.LinuxDevice{}, specs.LinuxDeviceCgroup{}, holdfast.Errorf(holdfast.ErrInvalid, "device %s: not a device", d.Source)
	}
	major, minor := int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	access := d.Permissions
	if access == "" {
		access = "rwm"
	}
	device := specs.LinuxDevice{Path: d.Target, Type: kind, Major: major, Minor: minor}
	return device, specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &major, Minor: &minor, Access: access}, nil
}

func deviceNumber(path string) (major, minor int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, holdfast.Errorf(holdfast.ErrInvalid, "device %s: %w", path, err)
	}
	return int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), nil
}

// deviceRule parses "c 1:3 rwm", as device_cgroup_rules writes it.
func deviceRule(text string) (specs.LinuxDeviceCgroup, error) {
	invalid := func() (specs.LinuxDeviceCgroup, error) {
		return specs.LinuxDeviceCgroup{}, holdfast.Errorf(holdfast.ErrInvalid, "device rule %q: want TYPE MAJOR:MINOR ACCESS, like c 1:3 rwm", text)
	}
	fields := strings.Fields(text)
	if len(fields) != 3 || !strings.Contains("abc", fields[0]) {
		return invalid()
	}
	rule := specs.LinuxDeviceCgroup{Allow: true, Type: fields[0], Access: fields[2]}
	majorText, minorText, ok := strings.Cut(fields[1], ":")
	if !ok {
		return invalid()
	}
	for _, part := range []struct {
		text string
		to   **int64
	}{{majorText, &rule.Major}, {minorText, &rule.Minor}} {
		if part.text == "*" {
			continue
		}
		n, err := strconv.ParseInt(part.text, 10, 64)
		if err != nil {
			return invalid()
		}
		*part.to = &n
	}
	return rule, nil
}

// expandDevice returns d itself, or the devices in it when it names a directory.
func expandDevice(d holdfast.Device) ([]holdfast.Device, error) {
	info, err := os.Stat(d.Source)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "device %s: %w", d.Source, err)
	}
	if !info.IsDir() {
		return []holdfast.Device{d}, nil
	}
	entries, err := os.ReadDir(d.Source)
	if err != nil {
		return nil, fmt.Errorf("read device directory: %w", err)
	}
	var all []holdfast.Device
	for _, e := range entries {
		if e.Type()&os.ModeDevice == 0 {
			continue
		}
		all = append(all, holdfast.Device{Source: d.Source + "/" + e.Name(), Target: d.Target + "/" + e.Name(), Permissions: d.Permissions})
	}
	return all, nil
}
