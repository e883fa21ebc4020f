//go:build linux

package linux

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// mountOptions are the options of an OCI mount, sorted by who takes them.
type mountOptions struct {
	bind, recursive bool
	own, tree       unix.MountAttr // attributes of the mount itself, and of all below it
	propagation     uint64         // 0: private
	propagateTree   bool
	idmap           bool     // ids must be mapped
	fs              []string // pairs for newFS
}

type attrChange struct{ set, clear uint64 }

var attrOptions = map[string]attrChange{
	"ro":            {set: unix.MOUNT_ATTR_RDONLY},
	"rw":            {clear: unix.MOUNT_ATTR_RDONLY},
	"nosuid":        {set: unix.MOUNT_ATTR_NOSUID},
	"suid":          {clear: unix.MOUNT_ATTR_NOSUID},
	"nodev":         {set: unix.MOUNT_ATTR_NODEV},
	"dev":           {clear: unix.MOUNT_ATTR_NODEV},
	"noexec":        {set: unix.MOUNT_ATTR_NOEXEC},
	"exec":          {clear: unix.MOUNT_ATTR_NOEXEC},
	"nodiratime":    {set: unix.MOUNT_ATTR_NODIRATIME},
	"diratime":      {clear: unix.MOUNT_ATTR_NODIRATIME},
	"nosymfollow":   {set: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"symfollow":     {clear: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"noatime":       {set: unix.MOUNT_ATTR_NOATIME, clear: unix.MOUNT_ATTR__ATIME},
	"atime":         {clear: unix.MOUNT_ATTR__ATIME},
	"relatime":      {set: unix.MOUNT_ATTR_RELATIME, clear: unix.MOUNT_ATTR__ATIME},
	"norelatime":    {clear: unix.MOUNT_ATTR__ATIME},
	"strictatime":   {set: unix.MOUNT_ATTR_STRICTATIME, clear: unix.MOUNT_ATTR__ATIME},
	"nostrictatime": {clear: unix.MOUNT_ATTR__ATIME},
}

var propagations = map[string]uint64{
	"private": unix.MS_PRIVATE, "slave": unix.MS_SLAVE, "shared": unix.MS_SHARED, "unbindable": unix.MS_UNBINDABLE,
}

// parseMount sorts m's options. An option that nobody knows goes to the file system, and is an error for a bind mount.
func parseMount(m specs.Mount) (*mountOptions, error) {
	o := &mountOptions{bind: m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind")}
	for _, option := range m.Options {
		if !o.take(option) {
			name, value, _ := strings.Cut(option, "=")
			o.fs = append(o.fs, name, value)
		}
	}
	if o.bind && len(o.fs) > 0 {
		return nil, holdfast.Errorf(holdfast.ErrUnsupported, "mount %s: option %s of a bind mount", m.Destination, o.fs[0])
	}
	return o, nil
}

func (o *mountOptions) take(option string) bool {
	change, known := attrOptions[option]
	if known {
		apply(&o.own, change)
		return true
	}
	rest, tree := strings.CutPrefix(option, "r")
	if change, known = attrOptions[rest]; tree && known {
		apply(&o.tree, change)
		return true
	}
	if p, known := propagations[option]; known {
		o.propagation, o.propagateTree = p, false
		return true
	}
	if p, known := propagations[rest]; tree && known {
		o.propagation, o.propagateTree = p, true
		return true
	}
	switch option {
	case "bind", "defaults", "nofail":
	case "rbind":
		o.recursive = true
	case "idmap", "ridmap":
		o.idmap = true
	default:
		return false
	}
	return true
}

func apply(a *unix.MountAttr, c attrChange) {
	a.Attr_set = a.Attr_set&^c.clear | c.set
	a.Attr_clr = a.Attr_clr&^c.set | c.clear
	if a.Attr_clr&unix.MOUNT_ATTR__ATIME != 0 || a.Attr_set&unix.MOUNT_ATTR__ATIME != 0 {
		a.Attr_clr |= unix.MOUNT_ATTR__ATIME // the kernel wants all its bits cleared when one changes
	}
}
