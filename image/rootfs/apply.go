package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

const (
	whiteout       = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// Apply lays the layer that r holds as an uncompressed tar stream over the tree. It reads r up to the end of the
// archive, not to the end of the stream. After an error the tree is of no use. Errors that the layer is to blame for
// are of kind ErrInvalid.
func (t *Tree) Apply(r io.Reader) error {
	t.layer++
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return readError(err)
		}
		if t.entries++; t.entries > t.max {
			return holdfast.Errorf(holdfast.ErrInvalid, "image has more than %d entries", t.max)
		}
		if err := t.apply(h, tr); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
}

func readError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) {
		return holdfast.Errorf(holdfast.ErrInvalid, "read tar: %w", err)
	}
	return fmt.Errorf("read tar: %w", err)
}

func (t *Tree) apply(h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	parts, err := split(h.Name)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return t.applyRoot(h)
	}
	dir, err := t.parent(parts)
	if err != nil {
		return err
	}
	base := parts[len(parts)-1]
	if strings.HasPrefix(base, whiteout) {
		return t.applyWhiteout(dir, base)
	}
	n, err := t.node(h, r)
	if err != nil {
		return err
	}
	return t.set(dir, base, n)
}

func (t *Tree) applyRoot(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return holdfast.Errorf(holdfast.ErrInvalid, "the root is not a directory")
	}
	n := newDir()
	if err := attributes(n, h); err != nil {
		return err
	}
	n.children = t.root.children
	n.Links = 1
	t.root = n
	return nil
}

func (t *Tree) applyWhiteout(dir *Node, base string) error {
	switch {
	case base == whiteoutOpaque:
		return t.removeLower(dir)
	case strings.HasPrefix(base, whiteoutMeta):
		return nil // aufs' own files
	}
	name := base[len(whiteout):]
	if name == "" || name == "." || name == ".." {
		return holdfast.Errorf(holdfast.ErrInvalid, "whiteout of %q", name)
	}
	e := dir.children[name]
	if e == nil {
		return nil
	}
	if e.layer < t.layer {
		return t.remove(dir, name)
	}
	if e.node.IsDir() { // the layer put it back: only what was there before goes
		return t.removeLower(e.node)
	}
	return nil
}

// node makes the node that h describes; a hard link is the node that it links to.
func (t *Tree) node(h *tar.Header, r io.Reader) (*Node, error) {
	if h.Typeflag == tar.TypeLink {
		return t.linked(h)
	}
	n := &Node{}
	if err := attributes(n, h); err != nil {
		return nil, err
	}
	switch n.Type() {
	case unix.S_IFLNK:
		if h.Linkname == "" || len(h.Linkname) > maxSymlink || strings.IndexByte(h.Linkname, 0) >= 0 {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "symbolic link to %.40q", h.Linkname)
		}
		n.Target = h.Linkname
	case unix.S_IFREG:
		if h.Size == 0 {
			return n, nil
		}
		data, err := t.content.Put(r, h.Size)
		if err != nil {
			return nil, contentError(err)
		}
		n.Size, n.Data = h.Size, data
	}
	return n, nil
}

func contentError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return holdfast.Errorf(holdfast.ErrInvalid, "content is cut short: %w", io.ErrUnexpectedEOF)
	}
	return err
}

func (t *Tree) linked(h *tar.Header) (*Node, error) {
	parts, err := split(h.Linkname)
	if err != nil {
		return nil, fmt.Errorf("hard link: %w", err)
	}
	if len(parts) == 0 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "hard link to the root")
	}
	dir, err := t.walk(parts[:len(parts)-1], false)
	if err != nil || !dir.IsDir() {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "hard link to %.200q, which does not exist", h.Linkname)
	}
	n := dir.Child(parts[len(parts)-1])
	switch {
	case n == nil:
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "hard link to %.200q, which does not exist", h.Linkname)
	case n.IsDir():
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "hard link to directory %.200q", h.Linkname)
	}
	return n, nil
}

// attributes fills in what h says of n but its data.
func attributes(n *Node, h *tar.Header) error {
	kind, err := kindOf(h.Typeflag)
	if err != nil {
		return err
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 {
		return holdfast.Errorf(holdfast.ErrInvalid, "owner %d:%d is out of range", h.Uid, h.Gid)
	}
	if h.Size < 0 {
		return holdfast.Errorf(holdfast.ErrInvalid, "size %d is negative", h.Size)
	}
	n.Mode = kind | uint32(h.Mode)&0o7777
	n.UID, n.GID = uint32(h.Uid), uint32(h.Gid)
	if !h.ModTime.IsZero() {
		n.Mtime, n.MtimeNs = h.ModTime.Unix(), uint32(h.ModTime.Nanosecond())
	}
	switch kind {
	case unix.S_IFLNK:
		n.Mode = kind | 0o777
	case unix.S_IFCHR, unix.S_IFBLK:
		if h.Devmajor < 0 || h.Devmajor > 0xfff || h.Devminor < 0 || h.Devminor > 0xfffff {
			return holdfast.Errorf(holdfast.ErrInvalid, "device number %d:%d is out of range", h.Devmajor, h.Devminor)
		}
		n.Rdev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	}
	n.Xattrs, err = xattrs(h)
	return err
}

func kindOf(typeflag byte) (uint32, error) {
	switch typeflag {
	case tar.TypeReg, 0, tar.TypeGNUSparse, tar.TypeCont:
		return unix.S_IFREG, nil
	case tar.TypeDir:
		return unix.S_IFDIR, nil
	case tar.TypeSymlink:
		return unix.S_IFLNK, nil
	case tar.TypeChar:
		return unix.S_IFCHR, nil
	case tar.TypeBlock:
		return unix.S_IFBLK, nil
	case tar.TypeFifo:
		return unix.S_IFIFO, nil
	}
	return 0, holdfast.Errorf(holdfast.ErrInvalid, "type %q is unknown", typeflag)
}

const paxXattr = "SCHILY.xattr."

// xattrs returns the extended attributes that h carries. Those of overlayfs are left out: in an image that becomes a
// lower layer they would steer the overlay.
func xattrs(h *tar.Header) (map[string]string, error) {
	var out map[string]string
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		if len(name) > maxName || len(value) > math.MaxUint16 {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "extended attribute %.40q of %d bytes is too large", name, len(value))
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = value
	}
	return out, nil
}
