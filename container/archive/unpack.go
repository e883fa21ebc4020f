package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// Unpack unpacks the tar in into the directory dir of the container, which must exist. Files of the same names are
// replaced; names that lead out of dir are refused, and device nodes are.
func (r *Root) Unpack(dir string, in io.Reader) error {
	fd, err := r.openAt(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	unix.Close(fd)
	return r.asContainer(func() error {
		u := unpacker{root: r, dir: path.Clean("/" + dir), tar: tar.NewReader(in)}
		return u.run()
	})
}

type unpacker struct {
	root *Root
	dir  string
	tar  *tar.Reader
}

func (u *unpacker) run() error {
	for {
		header, err := u.tar.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return holdfast.Errorf(holdfast.ErrInvalid, "read tar: %w", err)
		}
		if err := u.entry(header); err != nil {
			return fmt.Errorf("unpack %s: %w", header.Name, err)
		}
	}
}

func (u *unpacker) entry(h *tar.Header) error {
	name, err := u.inside(h.Name)
	if err != nil {
		return err
	}
	if name == u.dir {
		return nil
	}
	parent, err := u.mkdirs(path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	base := path.Base(name)
	switch h.Typeflag {
	case tar.TypeReg:
		return u.file(parent, base, h)
	case tar.TypeDir:
		if err := unix.Mkdirat(parent, base, 0o700); err != nil && err != unix.EEXIST {
			return err
		}
	case tar.TypeSymlink:
		if err := replace(parent, base, func() error { return unix.Symlinkat(h.Linkname, parent, base) }); err != nil {
			return err
		}
	case tar.TypeLink:
		return u.link(parent, base, h)
	case tar.TypeFifo:
		if err := replace(parent, base, func() error { return unix.Mkfifoat(parent, base, 0o600) }); err != nil {
			return err
		}
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return holdfast.Errorf(holdfast.ErrUnsupported, "devices are not copied")
	}
	return u.attributes(parent, base, h)
}

// inside returns the path in the container of a name in the tar.
func (u *unpacker) inside(name string) (string, error) {
	full := path.Join(u.dir, name)
	if full != u.dir && u.dir != "/" && len(full) > len(u.dir) && full[:len(u.dir)+1] != u.dir+"/" || len(full) < len(u.dir) {
		return "", holdfast.Errorf(holdfast.ErrInvalid, "name leads out of %s", u.dir)
	}
	return full, nil
}

// mkdirs returns dir inside the root, made if needed, as an O_PATH descriptor.
func (u *unpacker) mkdirs(dir string) (int, error) {
	fd, err := u.root.openAt(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil || dir == "/" || !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	parent, err := u.mkdirs(path.Dir(dir))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := unix.Mkdirat(parent, path.Base(dir), 0o755); err != nil && err != unix.EEXIST {
		return -1, err
	}
	if err := unix.Fchownat(parent, path.Base(dir), int(u.root.ids), int(u.root.ids), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return -1, err
	}
	return u.root.openAt(dir, unix.O_PATH|unix.O_DIRECTORY)
}

// replace makes a new entry, removing an old one that is no directory.
func replace(parent int, base string, make func() error) error {
	err := make()
	if err != unix.EEXIST {
		return err
	}
	if err := unix.Unlinkat(parent, base, 0); err != nil {
		return err
	}
	return make()
}

func (u *unpacker) file(parent int, base string, h *tar.Header) error {
	var fd int
	err := replace(parent, base, func() (err error) {
		fd, err = unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), base)
	_, err = io.Copy(file, u.tar)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return u.attributes(parent, base, h)
}

func (u *unpacker) link(parent int, base string, h *tar.Header) error {
	target, err := u.inside(h.Linkname)
	if err != nil {
		return err
	}
	from, err := u.root.openAt(path.Dir(target), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	return replace(parent, base, func() error { return unix.Linkat(from, path.Base(target), parent, base, 0) })
}

// attributes sets owner, mode and time; setuid bits survive because the owner is set first.
func (u *unpacker) attributes(parent int, base string, h *tar.Header) error {
	uid, gid := int(u.root.ids)+h.Uid, int(u.root.ids)+h.Gid
	if err := unix.Fchownat(parent, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if h.Typeflag != tar.TypeSymlink {
		fd, err := unix.Openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), uint32(h.Mode)&0o7777); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	at := unix.NsecToTimespec(h.ModTime.UnixNano())
	return unix.UtimesNanoAt(parent, base, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
}
