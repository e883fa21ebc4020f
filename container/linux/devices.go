//go:build linux

package linux

import (
	"errors"
	"fmt"
	"path"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

type device struct {
	name         string
	major, minor uint32
}

// defaultDevices are in every container's /dev.
var defaultDevices = []device{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

var defaultLinks = [][2]string{
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
	{"ptmx", "pts/ptmx"},
}

// populateDev makes the devices and links of /dev, unless the node's own is mounted there.
func populateDev(root rooted, mounts []*readyMount, extra []specs.LinuxDevice) error {
	for _, m := range mounts {
		if path.Clean(m.spec.Destination) == "/dev" && m.opt.bind {
			return nil
		}
	}
	dev, err := root.mkdirAll("/dev")
	if err != nil {
		return fmt.Errorf("open /dev: %w", err)
	}
	defer unix.Close(dev)
	for _, d := range defaultDevices {
		err := makeNode(dev, d.name, unix.S_IFCHR|0o666, d.major, d.minor, root.owner, root.owner)
		if err != nil {
			return fmt.Errorf("make device /dev/%s: %w", d.name, err)
		}
	}
	for _, l := range defaultLinks {
		if err := unix.Symlinkat(l[1], dev, l[0]); err != nil && err != unix.EEXIST {
			return fmt.Errorf("make link /dev/%s: %w", l[0], err)
		}
	}
	for _, d := range extra {
		if err := makeDevice(root, d); err != nil {
			return fmt.Errorf("make device %s: %w", d.Path, err)
		}
	}
	return nil
}

// makeNode runs on a visitor, whose umask is 0.
func makeNode(dir int, name string, mode, major, minor uint32, uid, gid int) error {
	err := unix.Mknodat(dir, name, mode, int(unix.Mkdev(major, minor)))
	if err == unix.EEXIST { // the image may have anything there
		if err = unix.Unlinkat(dir, name, 0); err == nil {
			err = unix.Mknodat(dir, name, mode, int(unix.Mkdev(major, minor)))
		}
	}
	if err != nil {
		return err
	}
	if uid != 0 || gid != 0 {
		if err := unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	return nil
}

func makeDevice(root rooted, d specs.LinuxDevice) error {
	kind, ok := map[string]uint32{"c": unix.S_IFCHR, "u": unix.S_IFCHR, "b": unix.S_IFBLK, "p": unix.S_IFIFO}[d.Type]
	if !ok {
		return holdfast.Errorf(holdfast.ErrInvalid, "device type %q: want c, b, u or p", d.Type)
	}
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(d.FileMode.Perm())
	}
	dir, name := path.Split(path.Clean("/" + d.Path))
	parent, err := root.mkdirAll(dir)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	if err := checkOutsideProc(parent, d.Path); err != nil {
		return err
	}
	id := func(p *uint32) int {
		if p == nil {
			return root.owner
		}
		return root.owner + int(*p)
	}
	return makeNode(parent, name, kind|mode, uint32(d.Major), uint32(d.Minor), id(d.UID), id(d.GID))
}

// maskPaths covers paths so that nothing of them shows: files by /dev/null, directories by an empty one.
func maskPaths(root rooted, paths []string, null int) error {
	empty := -1
	defer func() {
		if empty >= 0 {
			unix.Close(empty)
		}
	}()
	used := false
	for _, p := range paths {
		target, err := root.open(p, unix.O_PATH)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("mask %s: %w", p, err)
		}
		err = maskOne(target, null, &empty, &used)
		unix.Close(target)
		if err != nil {
			return fmt.Errorf("mask %s: %w", p, err)
		}
	}
	return nil
}

// maskOne attaches null or empty; when it is in use already, a copy of it.
func maskOne(target, null int, empty *int, nullUsed *bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(target, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if !*nullUsed {
			*nullUsed = true
			return attach(null, target)
		}
		return attachCopy(null, target)
	}
	if *empty >= 0 {
		return attachCopy(*empty, target)
	}
	fd, err := newFS("tmpfs", unix.MOUNT_ATTR_RDONLY, "size", "0k", "nr_inodes", "2", "mode", "755")
	if err != nil {
		return err
	}
	*empty = fd
	return attach(fd, target)
}

func attachCopy(mount, target int) error {
	fd, err := cloneTree(mount, "", false)
	if err != nil {
		return fmt.Errorf("copy mount: %w", err)
	}
	defer unix.Close(fd)
	return attach(fd, target)
}

// nullMount returns a detached mount of the node's /dev/null, checked to be it (CVE-2025-31133).
func nullMount() (int, error) {
	fd, err := cloneTree(unix.AT_FDCWD, "/dev/null", false)
	if err != nil {
		return -1, fmt.Errorf("copy /dev/null: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
		unix.Close(fd)
		return -1, fmt.Errorf("/dev/null of the node is something else")
	}
	return fd, nil
}

// protectPaths makes paths and all below them read-only.
func protectPaths(root rooted, paths []string) error {
	for _, p := range paths {
		target, err := root.open(p, unix.O_PATH)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("protect %s: %w", p, err)
		}
		err = protect(target)
		unix.Close(target)
		if err != nil {
			return fmt.Errorf("protect %s: %w", p, err)
		}
	}
	return nil
}

func protect(target int) error {
	fd, err := cloneTree(target, "", true)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := setAttr(fd, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, true); err != nil {
		return err
	}
	return attach(fd, target)
}
