//go:build linux

package linux

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// rooted is a container's root directory. All paths below it may have been laid as traps by an image, or, inside a
// volume, be changed this moment by another container: nothing is ever looked up twice.
type rooted struct {
	fd    int
	owner int // what is made in it belongs to this user and group
}

// open opens p with symbolic links resolved as the container would see them.
func (r rooted) open(p string, flags int) (int, error) {
	return r.resolve(p, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// openPlain opens p, which must have no symbolic link in it.
func (r rooted) openPlain(p string, flags int) (int, error) {
	return r.resolve(p, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS)
}

func (r rooted) resolve(p string, flags int, how uint64) (int, error) {
	for range 64 { // EAGAIN: something was renamed on the way
		fd, err := unix.Openat2(r.fd, p, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: how})
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err
		}
	}
	return -1, unix.EAGAIN
}

// mkdirAll opens the directory p, which it makes, with its parents, where it is not there.
func (r rooted) mkdirAll(p string) (int, error) {
	return r.mkdir(p, 0)
}

func (r rooted) mkdir(p string, links int) (int, error) {
	const maxLinks = 40
	p = path.Clean("/" + p)
	fd, err := r.open(p, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil || !errors.Is(err, unix.ENOENT) || links > maxLinks {
		return fd, err
	}
	dir, name := path.Split(p)
	parent, err := r.mkdir(dir, links)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	err = unix.Mkdirat(parent, name, 0o755)
	if err == unix.EEXIST { // a symbolic link to nowhere, or another was faster
		to, lerr := readlinkAt(parent, name)
		if lerr != nil {
			return r.open(p, unix.O_PATH|unix.O_DIRECTORY)
		}
		if !path.IsAbs(to) {
			to = path.Join(dir, to)
		}
		return r.mkdir(to, links+1)
	}
	if err != nil {
		return -1, err
	}
	if err := unix.Fchownat(parent, name, r.owner, r.owner, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, err
	}
	return unix.Openat(parent, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// mkfile opens the file p by O_PATH; an empty one is made where it is not there.
func (r rooted) mkfile(p string) (int, error) {
	fd, err := r.open(p, unix.O_PATH)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	dir, name := path.Split(path.Clean("/" + p))
	parent, err := r.mkdirAll(dir)
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	fd, err = unix.Openat(parent, name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_RDONLY, 0o644)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	if err := unix.Fchown(fd, r.owner, r.owner); err != nil {
		return -1, err
	}
	return unix.Openat(parent, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// mountPoint opens what a mount at p would cover; it is made where it is not there, a file for a file. What lies in
// procfs or sysfs is refused, unless it is one of the files that lxcfs and its like replace.
func (r rooted) mountPoint(p string, file bool) (int, error) {
	p = path.Clean("/" + p)
	if p == "/" {
		return -1, holdfast.Errorf(holdfast.ErrInvalid, "mount at /: that is the image's place")
	}
	var fd int
	var err error
	switch {
	case p == "/proc" || p == "/sys":
		if fd, err = r.openPlain(p, unix.O_PATH|unix.O_DIRECTORY); errors.Is(err, unix.ENOENT) {
			fd, err = r.mkdirAll(p)
		}
	case file:
		fd, err = r.mkfile(p)
	default:
		fd, err = r.mkdirAll(p)
	}
	if err != nil {
		return -1, fmt.Errorf("make mount point %s: %w", p, err)
	}
	if err := checkOutsideProc(fd, p); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func checkOutsideProc(fd int, p string) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return fmt.Errorf("look at mount point %s: %w", p, err)
	}
	if st.Type != unix.PROC_SUPER_MAGIC || replaceable[p] {
		return nil
	}
	return holdfast.Errorf(holdfast.ErrInvalid, "mount at %s: it is inside /proc", p)
}

// replaceable are the files of procfs that may be covered by a mount.
var replaceable = map[string]bool{
	"/proc/cpuinfo": true, "/proc/diskstats": true, "/proc/meminfo": true, "/proc/stat": true, "/proc/swaps": true,
	"/proc/uptime": true, "/proc/loadavg": true, "/proc/slabinfo": true, "/proc/net/dev": true,
	"/proc/sys/kernel/ns_last_pid": true, "/proc/sys/crypto/fips_enabled": true,
}

func readlinkAt(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(buf[:n]), "\x00"), nil
}
