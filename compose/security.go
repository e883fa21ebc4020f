package compose

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

func (e *entry) security() {
	c, s := &e.c, &e.spec.Security
	s.Privileged, s.ReadOnly = c.Privileged, c.ReadOnly
	s.CapAdd, s.CapDrop = e.capabilities("cap_add", c.CapAdd), e.capabilities("cap_drop", c.CapDrop)
	s.UserNS = e.namespace("userns_mode", c.UserNSMode, "host")
	s.PID = e.namespace("pid", c.Pid, "host")
	s.IPC = e.namespace("ipc", c.Ipc, "host", "private", "shareable")
	s.UTS = e.namespace("uts", c.Uts, "host")
	s.CgroupNS = e.namespace("cgroup", c.Cgroup, "host", "private")
	s.Sysctls = e.sysctls()
	s.Ulimits = e.ulimits()
	s.Devices = e.devices()
	s.DeviceCgroupRule = e.deviceRules()
	if c.ShmSize < 0 {
		e.bad(at("shm_size"), "is negative")
	}
	s.ShmBytes = int64(c.ShmSize)
	for i, opt := range c.SecurityOpt {
		e.securityOpt(at("security_opt", i), opt)
	}
}

// namespace accepts one of the modes a namespace can have.
func (e *entry) namespace(key, mode string, modes ...string) string {
	if mode != "" && !slices.Contains(modes, mode) {
		if strings.HasPrefix(mode, "service:") || strings.HasPrefix(mode, "container:") {
			e.cannot(at(key), "%q: containers do not share this namespace; only network_mode can name a service", mode)
		} else {
			e.cannot(at(key), "%q is not done: use %s, or leave it out", mode, orList(modes))
		}
		return ""
	}
	return mode
}

// orList renders "a", "a or b", "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

var capabilityNames = strings.Fields(`ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN
	DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD
	NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_BOOT SYS_CHROOT
	SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG SYSLOG WAKE_ALARM`)

// capabilities checks the names and writes them as Docker does: upper case, without CAP_.
func (e *entry) capabilities(key string, names []string) []string {
	var out []string
	for i, name := range names {
		n := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if !slices.Contains(capabilityNames, n) {
			e.badItem(at(key, i), name, "unknown capability %q%s", name, didYouMean(n, capabilityNames))
			continue
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// namespacedSysctls are those that belong to a container and not to the whole node.
var namespacedSysctls = []string{
	"net.", "fs.mqueue.", "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shm", "kernel.domainname",
	"kernel.hostname",
}

func (e *entry) sysctls() map[string]string {
	for _, name := range sortedKeys(e.c.Sysctls) {
		if !slices.ContainsFunc(namespacedSysctls, func(p string) bool { return strings.HasPrefix(name, p) }) {
			e.bad(at("sysctls", name), "is the node's, not a container's: set it on the node (sysctl -w %s=…)", name)
		} else if strings.HasPrefix(name, "net.") && e.c.NetworkMode == "host" {
			e.bad(at("sysctls", name), "with network_mode host it would change the node's network: set it on the node")
		}
	}
	return nonEmpty(e.c.Sysctls)
}

var ulimitNames = strings.Fields(`as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime
	sigpending stack`)

func (e *entry) ulimits() []holdfast.Ulimit {
	var out []holdfast.Ulimit
	for _, name := range sortedKeys(e.c.Ulimits) {
		u := e.c.Ulimits[name]
		if u == nil {
			continue
		}
		limit := holdfast.Ulimit{Name: name, Soft: int64(u.Soft), Hard: int64(u.Hard)}
		if u.Single != 0 || !e.sets("ulimits", name, "soft") && !e.sets("ulimits", name, "hard") {
			limit.Soft, limit.Hard = int64(u.Single), int64(u.Single)
		}
		switch {
		case !slices.Contains(ulimitNames, name):
			e.bad(at("ulimits", name), "unknown limit%s", didYouMean(name, ulimitNames))
		case limit.Hard >= 0 && (limit.Soft > limit.Hard || limit.Soft < 0):
			e.bad(at("ulimits", name), "soft limit %d is above the hard limit %d", limit.Soft, limit.Hard)
		case limit.Soft < -1 || limit.Hard < -1:
			e.bad(at("ulimits", name), "a limit is -1 (unlimited) or more")
		}
		out = append(out, limit)
	}
	return out
}

func (e *entry) devices() []holdfast.Device {
	var out []holdfast.Device
	for i, d := range e.c.Devices {
		if !strings.HasPrefix(d.Source, "/") {
			e.mistake(holdfast.ErrUnsupported, at("devices", i), d.Source, quoted(d.Source)+
				" is not a device path: only paths such as /dev/fuse are done, not CDI names")
			continue
		}
		dev := holdfast.Device{Source: d.Source, Target: d.Target, Permissions: d.Permissions}
		if dev.Target == "" {
			dev.Target = dev.Source
		}
		if dev.Permissions == "" {
			dev.Permissions = "rwm"
		}
		if strings.Trim(dev.Permissions, "rwm") != "" {
			e.badItem(at("devices", i), d.Source, "permissions %q: use letters of r, w and m", dev.Permissions)
		}
		out = append(out, dev)
	}
	return out
}

func quoted(s string) string { return `"` + s + `"` }

// deviceRules checks rules such as "c 1:3 mr" and "a *:* rwm".
func (e *entry) deviceRules() []string {
	for i, rule := range e.c.DeviceCgroupRules {
		f := strings.Fields(rule)
		if len(f) != 3 || !strings.Contains("a b c", f[0]) || !strings.Contains(f[1], ":") || strings.Trim(f[2], "rwm") != "" {
			e.badItem(at("device_cgroup_rules", i), rule, "%q is not a rule: write type major:minor access, such as c 1:3 mr", rule)
		}
	}
	return e.c.DeviceCgroupRules
}

// securityOpt reads one item of security_opt, with = or : between name and value.
func (e *entry) securityOpt(where []any, opt string) {
	name, value, ok := strings.Cut(opt, "=")
	if !ok {
		name, value, ok = strings.Cut(opt, ":")
	}
	s := &e.spec.Security
	switch {
	case name == "no-new-privileges" && (!ok || value == "true"):
	case name == "no-new-privileges" && value == "false":
		s.NewPrivileges = true
	case name == "seccomp" && value == "unconfined":
		s.Seccomp = value
	case name == "seccomp" && (value == "default" || value == "builtin"):
	case name == "seccomp" && ok:
		s.Seccomp = e.seccompProfile(where, opt, value)
	case opt == "systempaths=unconfined" || opt == "systempaths:unconfined":
		s.UnmaskPaths = true
	case name == "apparmor" && value == "unconfined", name == "label" && value == "disable":
		e.remark(where, "no such profile is ever put on a container, so there is none to take off")
	case name == "apparmor" || name == "label":
		e.mistake(holdfast.ErrUnsupported, where, opt, quoted(opt)+": AppArmor profiles and SELinux labels are not set by this version")
	default:
		e.badItem(where, opt, "unknown option %q: no-new-privileges, seccomp=unconfined|<file> and systempaths=unconfined are known", opt)
	}
}

// seccompProfile reads a profile's JSON from a file.
func (e *entry) seccompProfile(where []any, opt, name string) string {
	if !filepath.IsAbs(name) {
		name = filepath.Join(e.dir, name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		e.badItem(where, opt, "%s", missing("seccomp profile", name, err))
		return ""
	}
	var profile struct {
		DefaultAction string `json:"defaultAction"`
	}
	if err := json.Unmarshal(data, &profile); err != nil || profile.DefaultAction == "" {
		e.badItem(where, opt, "seccomp profile %s is not one: it must be JSON with a defaultAction", displayName(name))
		return ""
	}
	return string(data)
}

// addr parses an IP address, or returns the zero one.
func addr(text string) netip.Addr {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return a
}
