// Package plain writes a flattened image as an ordinary directory, for kernels that cannot mount an EROFS file.
//
// Data goes to numbered files as the layers are read; at the end these are renamed into the tree. The tree is made in
// an empty directory, each directory by this package itself, so no link of the image is ever followed.
//
// May import only image/rootfs, the root package and libraries.
package plain

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/image/rootfs"
)

// Writer writes one image below a directory. Use: New, Put and Drop while layers are applied, then Finish.
type Writer struct {
	dir  string
	next rootfs.Handle
	made map[*rootfs.Node]string // where a node with data or several names lies
	// Bytes counts the data of the files.
	Bytes int64
}

// New returns a writer that works in dir, which must be empty; the image is in Root() after Finish.
func New(dir string) (*Writer, error) {
	w := &Writer{dir: dir, made: map[*rootfs.Node]string{}}
	for _, sub := range []string{w.data(), w.Root()} {
		if err := os.Mkdir(sub, 0o700); err != nil {
			return nil, fmt.Errorf("write image: %w", err)
		}
	}
	return w, nil
}

// Root is the directory that holds the image's root.
func (w *Writer) Root() string { return filepath.Join(w.dir, "root") }

func (w *Writer) data() string { return filepath.Join(w.dir, "data") }

func (w *Writer) dataFile(h rootfs.Handle) string {
	return filepath.Join(w.data(), strconv.FormatInt(int64(h), 10))
}

// Put implements rootfs.Content.
func (w *Writer) Put(r io.Reader, size int64) (rootfs.Handle, error) {
	w.next++
	f, err := os.OpenFile(w.dataFile(w.next), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := io.CopyN(f, r, size); err != nil {
		return 0, err
	}
	w.Bytes += size
	return w.next, f.Close()
}

// Drop implements rootfs.Content.
func (w *Writer) Drop(h rootfs.Handle, size int64) error {
	w.Bytes -= size
	return os.Remove(w.dataFile(h))
}

// Finish makes the tree below root, whose data went through Put, and syncs the file system.
func (w *Writer) Finish(root *rootfs.Node) error {
	if err := w.fill(w.Root(), root); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	if err := os.RemoveAll(w.data()); err != nil {
		return err
	}
	f, err := os.Open(w.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// fill makes what is below the directory n, which lies at path, and then sets n's own attributes.
func (w *Writer) fill(path string, n *rootfs.Node) error {
	for _, name := range n.Names() {
		child, at := n.Child(name), filepath.Join(path, name)
		if err := w.make(at, child); err != nil {
			return err
		}
	}
	return attributes(path, n)
}

func (w *Writer) make(path string, n *rootfs.Node) error {
	if first, ok := w.made[n]; ok {
		return os.Link(first, path)
	}
	if n.Links > 1 && !n.IsDir() {
		w.made[n] = path
	}
	switch n.Type() {
	case unix.S_IFDIR:
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		return w.fill(path, n)
	case unix.S_IFLNK:
		if err := os.Symlink(n.Target, path); err != nil {
			return err
		}
	case unix.S_IFREG:
		if err := w.makeFile(path, n); err != nil {
			return err
		}
	default:
		if err := unix.Mknod(path, n.Mode, int(n.Rdev)); err != nil {
			return fmt.Errorf("mknod %s: %w", path, err)
		}
	}
	return attributes(path, n)
}

func (w *Writer) makeFile(path string, n *rootfs.Node) error {
	if n.Size > 0 {
		return os.Rename(w.dataFile(n.Data), path)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// attributes sets owner, mode, extended attributes and time, in the order in which none undoes another.
func attributes(path string, n *rootfs.Node) error {
	if err := os.Lchown(path, int(n.UID), int(n.GID)); err != nil {
		return err
	}
	link := n.Type() == unix.S_IFLNK
	if !link {
		if err := unix.Chmod(path, n.Mode&0o7777); err != nil {
			return fmt.Errorf("chmod %s: %w", path, err)
		}
	}
	for name, value := range n.Xattrs {
		if err := unix.Lsetxattr(path, name, []byte(value), 0); err != nil {
			return fmt.Errorf("set %s of %s: %w", name, path, err)
		}
	}
	mtime := unix.NsecToTimespec(time.Unix(n.Mtime, int64(n.MtimeNs)).UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{mtime, mtime}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time of %s: %w", path, err)
	}
	return nil
}
