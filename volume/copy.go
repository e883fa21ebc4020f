package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// copyTree copies what is in directory src into directory dst: owners, modes, times, links, devices and extended
// attributes, and those of src itself onto dst. Src must not change meanwhile.
func copyTree(ctx context.Context, src, dst string) error {
	return copier{linked: map[inode]string{}}.dir(ctx, src, dst)
}

type inode struct{ dev, ino uint64 }

type copier struct {
	linked map[inode]string // where a file with several names was copied to
}

// dir copies the entries of src, then src's own metadata: writing entries changes the times.
func (c copier) dir(ctx context.Context, src, dst string) error {
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.entry(ctx, filepath.Join(src, e.Name()), filepath.Join(dst, e.Name())); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(src, &st); err != nil { // src may be the link in /proc
		return &fs.PathError{Op: "stat", Path: src, Err: err}
	}
	return copyMeta(src+"/.", dst, &st)
}

func (c copier) entry(ctx context.Context, src, dst string) error {
	var st unix.Stat_t
	if err := unix.Lstat(src, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: src, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if st.Nlink > 1 && kind != unix.S_IFDIR {
		id := inode{st.Dev, st.Ino}
		if first, ok := c.linked[id]; ok {
			return os.Link(first, dst)
		}
		c.linked[id] = dst
	}
	switch kind {
	case unix.S_IFDIR:
		if err := os.Mkdir(dst, 0o700); err != nil {
			return err
		}
		return c.dir(ctx, src, dst)
	case unix.S_IFREG:
		if err := copyFile(src, dst); err != nil {
			return err
		}
	case unix.S_IFLNK:
		to, err := os.Readlink(src)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, dst); err != nil {
			return err
		}
	case unix.S_IFSOCK:
		return nil // belongs to a process that is not there
	default:
		if err := unix.Mknod(dst, st.Mode, int(st.Rdev)); err != nil {
			return &fs.PathError{Op: "mknod", Path: dst, Err: err}
		}
	}
	return copyMeta(src, dst, &st)
}

func copyFile(src, dst string) error {
	in, err := os.OpenFile(src, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// copyMeta gives dst the owner, then attributes (a change of owner drops capabilities), mode and times of src.
func copyMeta(src, dst string, st *unix.Stat_t) error {
	if err := os.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyXattrs(src, dst); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(dst, st.Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: dst, Err: err}
		}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, dst, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "set times", Path: dst, Err: err}
	}
	return nil
}

// copyXattrs copies extended attributes, as far as the target's file system has them, and without overlayfs' own.
func copyXattrs(src, dst string) error {
	names, err := readXattr(func(buf []byte) (int, error) { return unix.Llistxattr(src, buf) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list attributes of %s: %w", src, err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		value, err := readXattr(func(buf []byte) (int, error) { return unix.Lgetxattr(src, name, buf) })
		if err != nil {
			return fmt.Errorf("read attribute %s of %s: %w", name, src, err)
		}
		if err := unix.Lsetxattr(dst, name, value, 0); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("set attribute %s of %s: %w", name, dst, err)
		}
	}
	return nil
}

func readXattr(read func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 1024)
	for {
		n, err := read(buf)
		if errors.Is(err, unix.ERANGE) {
			buf = make([]byte, 2*len(buf))
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}
