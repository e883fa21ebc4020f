//go:build linux

package linux

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// readyMount is a mount that is made but not in its place yet.
type readyMount struct {
	spec specs.Mount
	opt  *mountOptions
	fd   int
	file bool // it covers a file and not a directory
	// parts are mounted below it: the controllers of cgroup v1.
	parts map[string]int
}

func (m *readyMount) close() {
	if m.fd >= 0 {
		unix.Close(m.fd)
		m.fd = -1
	}
	for _, fd := range m.parts {
		unix.Close(fd)
	}
	m.parts = nil
}

// makeMounts makes all mounts of a container, on this side of its mount namespace.
func makeMounts(list []specs.Mount, b *box, userNS int) (ready []*readyMount, err error) {
	defer func() {
		if err != nil {
			for _, m := range ready {
				m.close()
			}
		}
	}()
	for _, spec := range list {
		opt, err := parseMount(spec)
		if err != nil {
			return ready, err
		}
		m := &readyMount{spec: spec, opt: opt, fd: -1}
		ready = append(ready, m)
		if err := m.make(b, userNS); err != nil {
			return ready, fmt.Errorf("mount %s: %w", spec.Destination, err)
		}
	}
	return ready, nil
}

func (m *readyMount) make(b *box, userNS int) (err error) {
	switch {
	case m.opt.bind:
		err = m.makeBind(userNS)
	case m.spec.Type == "proc" || m.spec.Type == "sysfs" || m.spec.Type == "mqueue":
		if m.fd, err = b.takeMount(m.spec.Type); err == nil {
			err = setAttr(m.fd, m.opt.own, false)
		}
	case m.spec.Type == "cgroup" || m.spec.Type == "cgroup2":
		err = m.makeCgroup(b)
	default:
		if m.fd, err = newFS(m.spec.Type, int(m.opt.own.Attr_set), m.fsOptions(int(b.sandbox.UIDs))...); errors.Is(err, unix.ENODEV) {
			err = holdfast.Errorf(holdfast.ErrUnsupported, "%w", err)
		}
	}
	if err != nil {
		return err
	}
	return m.propagate()
}

// fsOptions are the file system's options as the node sees them: ids in them are the container's.
func (m *readyMount) fsOptions(owner int) []string {
	options := append([]string(nil), m.opt.fs...)
	if m.spec.Source != "" {
		options = append(options, "source", m.spec.Source)
	}
	if owner == 0 || m.spec.Type != "tmpfs" && m.spec.Type != "devpts" {
		return options
	}
	has := map[string]bool{}
	for i := 0; i < len(options); i += 2 {
		has[options[i]] = true
		if options[i] == "uid" || options[i] == "gid" {
			if id, err := strconv.Atoi(options[i+1]); err == nil {
				options[i+1] = strconv.Itoa(owner + id)
			}
		}
	}
	for _, name := range []string{"uid", "gid"} {
		if !has[name] && m.spec.Type == "tmpfs" {
			options = append(options, name, strconv.Itoa(owner))
		}
	}
	return options
}

// makeBind copies the mount at the source. In a container with a user namespace its ids are mapped, so that what root
// owns here belongs to root there, where the file system can do that.
func (m *readyMount) makeBind(userNS int) error {
	var st unix.Stat_t
	if err := unix.Stat(m.spec.Source, &st); err != nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "bind source %s: %w", m.spec.Source, err)
	}
	m.file = st.Mode&unix.S_IFMT != unix.S_IFDIR
	fd, err := cloneTree(unix.AT_FDCWD, m.spec.Source, m.opt.recursive)
	if err != nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "bind source %s: %w", m.spec.Source, err)
	}
	m.fd = fd
	if userNS >= 0 && !isDevice(st.Mode) {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userNS)}
		err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|recursiveFlag(m.opt.recursive), &attr)
		if err != nil && m.opt.idmap {
			return holdfast.Errorf(holdfast.ErrUnsupported, "map ids of %s: %w", m.spec.Source, err)
		}
	}
	if err := setAttr(fd, m.opt.own, false); err != nil {
		return err
	}
	return setAttr(fd, m.opt.tree, true)
}

func isDevice(mode uint32) bool {
	return mode&unix.S_IFMT == unix.S_IFCHR || mode&unix.S_IFMT == unix.S_IFBLK
}

func recursiveFlag(on bool) uint {
	if on {
		return unix.AT_RECURSIVE
	}
	return 0
}

func setAttr(fd int, attr unix.MountAttr, recursive bool) error {
	if attr == (unix.MountAttr{}) {
		return nil
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|recursiveFlag(recursive), &attr); err != nil {
		return fmt.Errorf("set mount attributes: %w", err)
	}
	return nil
}

// propagate makes the mount private unless its options ask for more.
func (m *readyMount) propagate() error {
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	tree := true
	if m.opt.propagation != 0 {
		attr.Propagation, tree = m.opt.propagation, m.opt.propagateTree
	} else if !m.opt.bind {
		return nil // new mounts are private
	}
	return setAttr(m.fd, attr, tree)
}

// makeCgroup makes the view of the container's own cgroup: one mount with v2, a directory of mounts with v1.
func (m *readyMount) makeCgroup(b *box) (err error) {
	controllers := v1Controllers()
	if len(controllers) == 0 {
		if m.fd, err = b.takeMount("cgroup2"); err != nil {
			return err
		}
		return setAttr(m.fd, m.opt.own, false)
	}
	attrs := int(m.opt.own.Attr_set &^ unix.MOUNT_ATTR_RDONLY) // until its directories are made
	if m.fd, err = newFS("tmpfs", attrs, m.ownerOptions(b)...); err != nil {
		return err
	}
	m.parts = map[string]int{}
	for _, c := range controllers {
		fd, err := b.takeMount("cgroup/" + c)
		if errors.Is(err, holdfast.ErrUnsupported) {
			continue // a hierarchy that was added meanwhile
		}
		if err != nil {
			return err
		}
		m.parts[c] = fd
		if err := setAttr(fd, m.opt.own, false); err != nil {
			return err
		}
		if err := unix.Mkdirat(m.fd, c, 0o755); err != nil {
			return fmt.Errorf("make directory of %s: %w", c, err)
		}
		if err := linkControllers(m.fd, c); err != nil {
			return err
		}
	}
	return nil
}

func (m *readyMount) ownerOptions(b *box) []string {
	owner := strconv.Itoa(int(b.sandbox.UIDs))
	return []string{"mode", "755", "size", "64k", "uid", owner, "gid", owner}
}

// linkControllers makes links from each controller to the hierarchy of several: cpu -> cpu,cpuacct.
func linkControllers(dir int, hierarchy string) error {
	if !strings.Contains(hierarchy, ",") {
		return nil
	}
	for name := range strings.SplitSeq(hierarchy, ",") {
		if err := unix.Symlinkat(hierarchy, dir, name); err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	return nil
}

// place attaches the mount below root. It runs in the container's mount namespace.
func (m *readyMount) place(root rooted) error {
	target, err := root.mountPoint(m.spec.Destination, m.file)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if err := attach(m.fd, target); err != nil {
		return fmt.Errorf("mount %s: %w", m.spec.Destination, err)
	}
	for name, fd := range m.parts {
		at, err := unix.Openat(m.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("mount %s/%s: %w", m.spec.Destination, name, err)
		}
		err = attach(fd, at)
		unix.Close(at)
		if err != nil {
			return fmt.Errorf("mount %s/%s: %w", m.spec.Destination, name, err)
		}
	}
	if m.parts != nil {
		return setAttr(m.fd, m.opt.own, false)
	}
	return nil
}
