//go:build linux

package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
)

// initPath is where the program for Spec.Init is mounted.
const initPath = "/dev/.holdfast-init"

// writeBundle writes the config.json that the program gets.
func (r *Runtime) writeBundle(b *box) error {
	config := *b.Spec.OCI
	config.Version = "1.0.2" // what the oldest supported programs know; newer fields were checked
	process := *config.Process
	if b.Spec.User != "" || len(b.Spec.Groups) > 0 {
		user, err := lookup(b.path(r, "rootfs"), orRoot(b.Spec.User), b.Spec.Groups)
		if err != nil {
			return err
		}
		user.Umask = process.User.Umask
		process.User = user
	}
	if path.IsAbs(process.Args[0]) && !covered(config.Mounts, process.Args[0]) {
		if err := r.programIn(b, process.Args[0]); err != nil {
			return err
		}
	}
	if b.Spec.Init {
		if r.cfg.Init == "" {
			return holdfast.Errorf(holdfast.ErrUnsupported, "init: none of catatonit, tini and docker-init is installed")
		}
		config.Mounts = append(slices.Clone(config.Mounts), specs.Mount{
			Destination: initPath, Type: "bind", Source: r.cfg.Init, Options: []string{"bind", "ro", "nosuid", "nodev"},
		})
		process.Args = append([]string{initPath, "--"}, process.Args...)
	}
	config.Process = &process
	readonly := config.Root != nil && config.Root.Readonly
	config.Root = &specs.Root{Path: b.path(r, "rootfs"), Readonly: readonly}
	linux := specs.Linux{}
	if config.Linux != nil {
		linux = *config.Linux
	}
	linux.CgroupsPath = path.Join(r.cfg.CgroupParent, b.Status.ID)
	linux.Namespaces = namespaces(b)
	linux.Resources = withDevices(linux.Resources)
	config.Linux = &linux
	text, err := json.Marshal(&config)
	if err != nil {
		return fmt.Errorf("encode config: %w", err)
	}
	if err := os.WriteFile(b.path(r, "config.json"), text, 0o600); err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	return nil
}

// withDevices puts the rules for device files before r's own: without any, crun allows all. Any may be made, but only
// the harmless ones opened.
func withDevices(r *specs.LinuxResources) *specs.LinuxResources {
	rule := func(allow bool, kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		d := specs.LinuxDeviceCgroup{Allow: allow, Type: kind, Access: access}
		if major >= 0 {
			d.Major = &major
		}
		if minor >= 0 {
			d.Minor = &minor
		}
		return d
	}
	rules := []specs.LinuxDeviceCgroup{
		rule(false, "a", -1, -1, "rwm"), rule(true, "c", -1, -1, "m"), rule(true, "b", -1, -1, "m"),
		rule(true, "c", 136, -1, "rwm"), // terminals
	}
	for _, d := range [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}} {
		rules = append(rules, rule(true, "c", d[0], d[1], "rwm"))
	}
	out := specs.LinuxResources{}
	if r != nil {
		out = *r
	}
	out.Devices = append(rules, out.Devices...)
	return &out
}

func orRoot(user string) string {
	if user == "" {
		return "0"
	}
	return user
}

// covered reports whether a mount may bring what is at p.
func covered(mounts []specs.Mount, p string) bool {
	for _, m := range mounts {
		for dir := path.Clean(p); ; dir = path.Dir(dir) {
			if dir == path.Clean(m.Destination) {
				return true
			}
			if dir == "/" {
				break
			}
		}
	}
	return false
}

func namespaces(b *box) []specs.LinuxNamespace {
	opt := b.Status.Sandbox.Opt
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.CgroupNamespace}}
	if !opt.HostNet {
		list = append(list, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: b.Status.Sandbox.NetNS})
	}
	if !opt.HostPID {
		list = append(list, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if !opt.HostIPC {
		list = append(list, specs.LinuxNamespace{Type: specs.IPCNamespace})
	}
	if !opt.HostUTS {
		list = append(list, specs.LinuxNamespace{Type: specs.UTSNamespace})
	}
	return list
}
