package compose

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"
	"github.com/holdfast/holdfast"
)

func (e *entry) mounts() {
	add := func(where []any, m holdfast.Mount, ok bool) {
		if !ok {
			return
		}
		if slices.ContainsFunc(e.spec.Mounts, func(other holdfast.Mount) bool { return other.Target == m.Target }) {
			e.badItem(where, m.Target, "something else is mounted at %s already", m.Target)
			return
		}
		e.spec.Mounts = append(e.spec.Mounts, m)
	}
	for i, v := range e.c.Volumes {
		m, ok := e.mount(at("volumes", i), v)
		add(at("volumes", i), m, ok)
	}
	for i, text := range e.c.Tmpfs {
		m, ok := e.tmpfs(at("tmpfs", i), text)
		add(at("tmpfs", i), m, ok)
	}
	for i, from := range e.c.VolumesFrom {
		e.mountsFrom(at("volumes_from", i), from)
	}
	slices.SortStableFunc(e.spec.Mounts, func(a, b holdfast.Mount) int { return strings.Compare(a.Target, b.Target) })
}

// mount turns one item of volumes, in either form, into a Mount.
func (e *entry) mount(where []any, v types.ServiceVolumeConfig) (holdfast.Mount, bool) {
	m := holdfast.Mount{Type: v.Type, Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
	if !strings.HasPrefix(v.Target, "/") {
		e.badItem(where, v.Target, "target %q must be an absolute path in the container", v.Target)
		return m, false
	}
	if m.Target = path.Clean(v.Target); m.Target == "/" {
		e.badItem(where, v.Target, "nothing can be mounted over the container's root")
		return m, false
	}
	switch v.Type {
	case "volume":
		e.volumeMount(where, v, &m)
	case "bind":
		e.bindMount(where, v, &m)
	case "tmpfs":
		e.tmpfsMount(where, v, &m)
	case "image":
		e.imageMount(where, v, &m)
	default:
		e.mistake(holdfast.ErrUnsupported, append(where, "type"), "",
			fmt.Sprintf("%q mounts are not done: use volume, bind, tmpfs or image", v.Type))
		return m, false
	}
	for _, o := range []struct {
		key, kind string
		set       bool
	}{
		{"bind", "bind", v.Bind != nil}, {"volume", "volume", v.Volume != nil},
		{"tmpfs", "tmpfs", v.Tmpfs != nil}, {"image", "image", v.Image != nil},
	} {
		if o.set && o.kind != v.Type {
			e.bad(append(where, o.key), "is for mounts of type %s; this one is of type %s", o.kind, v.Type)
		}
	}
	return m, true
}

func (e *entry) volumeMount(where []any, v types.ServiceVolumeConfig, m *holdfast.Mount) {
	if v.Volume != nil {
		m.NoCopy, m.Subpath = v.Volume.NoCopy, e.subpath(append(where, "volume", "subpath"), v.Volume.Subpath)
		if v.Source == "" && v.Volume.Subpath != "" {
			e.bad(append(where, "volume", "subpath"), "needs a named volume: give a source")
		}
	}
	if v.Source == "" {
		return
	}
	if _, ok := e.project.Volumes[v.Source]; !ok {
		e.badItem(where, v.Source, "volume %q is not declared: add it under the top-level volumes%s", v.Source,
			didYouMean(v.Source, sortedKeys(e.project.Volumes)))
	}
}

// subpath refuses what would leave the volume.
func (e *entry) subpath(where []any, sub string) string {
	if sub == "" {
		return ""
	}
	if path.IsAbs(sub) || slices.Contains(strings.Split(sub, "/"), "..") {
		e.bad(where, "%q must be a relative path without ..", sub)
	}
	return path.Clean(sub)
}

func (e *entry) bindMount(where []any, v types.ServiceVolumeConfig, m *holdfast.Mount) {
	if v.Source == "" {
		e.bad(where, "a bind mount needs a source: a path on the node")
		return
	}
	m.Recursive, m.CreateHost = true, true
	b := v.Bind
	if b == nil {
		return
	}
	m.CreateHost = bool(b.CreateHostPath)
	m.Propagation = b.Propagation
	if b.Propagation != "" && !slices.Contains(propagations, b.Propagation) {
		e.bad(append(where, "bind", "propagation"), "unknown propagation %q: use %s", b.Propagation, orList(propagations))
	}
	switch b.Recursive {
	case "", "enabled":
	case "disabled":
		m.Recursive = false
	default:
		e.cannot(append(where, "bind", "recursive"), "%q is not done: use enabled or disabled", b.Recursive)
	}
}

var propagations = []string{"private", "rprivate", "shared", "rshared", "slave", "rslave"}

func (e *entry) tmpfsMount(where []any, v types.ServiceVolumeConfig, m *holdfast.Mount) {
	if v.Source != "" {
		e.bad(append(where, "source"), "a tmpfs has no source")
	}
	m.Source = ""
	if v.Tmpfs == nil {
		return
	}
	if v.Tmpfs.Size < 0 {
		e.bad(append(where, "tmpfs", "size"), "is negative")
	}
	if v.Tmpfs.Mode > 0o7777 {
		e.bad(append(where, "tmpfs", "mode"), "is not a mode such as 0755 or 1777 in octal")
	}
	m.SizeBytes, m.FileMode = int64(v.Tmpfs.Size), v.Tmpfs.Mode
}

func (e *entry) imageMount(where []any, v types.ServiceVolumeConfig, m *holdfast.Mount) {
	if v.Source == "" {
		e.bad(where, "an image mount needs a source: the image's name")
	} else if why := imageProblem(v.Source); why != "" {
		e.bad(append(where, "source"), "%s", why)
	}
	m.ReadOnly = true
	if v.Image != nil {
		m.Subpath = e.subpath(append(where, "image", "subpath"), v.Image.SubPath)
	}
}

// tmpfs reads an item of the tmpfs key: "/run" or "/run:size=64m,mode=1777".
func (e *entry) tmpfs(where []any, text string) (holdfast.Mount, bool) {
	target, options, _ := strings.Cut(text, ":")
	m := holdfast.Mount{Type: "tmpfs", Target: path.Clean(target)}
	if !strings.HasPrefix(target, "/") || m.Target == "/" {
		e.badItem(where, text, "%q must be an absolute path in the container, with options after a colon", target)
		return m, false
	}
	for opt := range strings.SplitSeq(options, ",") {
		name, value, _ := strings.Cut(opt, "=")
		var err error
		switch name {
		case "", "rw", "nosuid", "nodev", "noexec": // as every tmpfs is
		case "ro":
			m.ReadOnly = true
		case "size":
			if m.SizeBytes, err = units.RAMInBytes(value); err != nil {
				e.badItem(where, text, "size %q is not a size such as 64m", value)
			}
		case "mode":
			var mode uint64
			if mode, err = strconv.ParseUint(value, 8, 12); err != nil {
				e.badItem(where, text, "mode %q is not an octal mode such as 1777", value)
			}
			m.FileMode = uint32(mode)
		default:
			e.mistake(holdfast.ErrUnsupported, where, text, fmt.Sprintf("tmpfs option %q is not done: size, mode and ro are", opt))
		}
	}
	return m, true
}

// mountsFrom copies the mounts of another service that keep data.
func (e *entry) mountsFrom(where []any, from string) {
	name, mode, _ := strings.Cut(from, ":")
	if name == "container" {
		e.mistake(holdfast.ErrUnsupported, where, from, "mounts of a container outside the app cannot be taken: name a service")
		return
	}
	if mode != "" && mode != "ro" && mode != "rw" {
		e.badItem(where, from, "%q is neither ro nor rw", mode)
	}
	other, ok := e.project.Services[name]
	if !ok {
		e.badItem(where, from, "no service %q%s", name, didYouMean(name, sortedKeys(e.project.Services)))
		return
	}
	for _, v := range other.Volumes {
		if v.Type == "tmpfs" || v.Source == "" || slices.ContainsFunc(e.spec.Mounts, func(m holdfast.Mount) bool { return m.Target == v.Target }) {
			continue
		}
		quiet := entry{loading: &loading{project: e.project, files: e.files}, at: e.at}
		if m, ok := quiet.mount(where, v); ok {
			m.ReadOnly = m.ReadOnly || mode == "ro"
			e.spec.Mounts = append(e.spec.Mounts, m)
		}
	}
}
