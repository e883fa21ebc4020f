package erofs

import (
	"math"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/image/rootfs"
)

const (
	slot      = 32 // a node number counts these from the start of the metadata
	inodeSize = 64 // of the extended inode, the only form written

	flatPlain  = 0
	flatInline = 2
)

// layout says where everything of an image lies.
type layout struct {
	inodes []*inode // in the order in which they are written; the root first
	byNode map[*rootfs.Node]*inode
	inline func(rootfs.Handle) []byte

	plainStart int64 // block of the first directory or link that is not inline
	metaStart  int64 // block of the first inode
	metaSize   int64
}

type inode struct {
	*rootfs.Node
	parent *inode
	nid    int64
	links  int
	size   int64
	format uint16 // flatPlain or flatInline
	block  int64  // of flatPlain content
	tail   []byte // content that the layout holds: inline file, link; directories make theirs when written
	xattrs []byte
}

func (w *Writer) layout(root *rootfs.Node) (*layout, error) {
	l := &layout{byNode: map[*rootfs.Node]*inode{}, plainStart: w.next}
	l.inline = func(h rootfs.Handle) []byte { return w.inline[-h-1] }
	if err := l.collect(root, nil); err != nil {
		return nil, err
	}
	next := l.plainStart
	offset := int64(0)
	for _, in := range l.inodes {
		offset = in.place(offset)
		if in.ownBlocks() {
			in.block = next
			next += blocks(in.size)
		}
	}
	l.metaStart, l.metaSize = next, offset
	if next+blocks(offset) > math.MaxUint32 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "image of %d blocks is too large", next+blocks(offset))
	}
	return l, nil
}

// collect adds n and all below it, parents first, each node once.
func (l *layout) collect(n *rootfs.Node, parent *inode) error {
	if l.byNode[n] != nil {
		return nil
	}
	in := &inode{Node: n, parent: parent, links: n.Links, size: n.Size}
	if parent == nil {
		in.parent = in
	}
	var err error
	if in.xattrs, err = encodeXattrs(n.Xattrs); err != nil {
		return err
	}
	l.byNode[n] = in
	l.inodes = append(l.inodes, in)
	switch n.Type() {
	case unix.S_IFLNK:
		in.tail = []byte(n.Target)
		in.size = int64(len(in.tail))
	case unix.S_IFREG:
		if n.Size > 0 && n.Data < 0 {
			in.tail = l.inline(n.Data)
		} else {
			in.block = int64(n.Data)
		}
	case unix.S_IFDIR:
		return l.collectDir(in)
	}
	return nil
}

func (l *layout) collectDir(in *inode) error {
	in.links = 2
	in.size = direntsSize(in.direntNames())
	for _, name := range in.Names() {
		child := in.Child(name)
		if child.IsDir() {
			in.links++
		}
		if err := l.collect(child, in); err != nil {
			return err
		}
	}
	return nil
}

// place decides how the inode's content is stored and where the inode lies, at or after offset from the start of the
// metadata, and returns the offset after it.
func (in *inode) place(offset int64) int64 {
	head := inodeSize + int64(len(in.xattrs))
	tail := int64(0)
	if in.inlines() && head+in.size <= blockSize {
		in.format, tail = flatInline, in.size
	}
	crosses := offset%blockSize+inodeSize > blockSize
	if tail > 0 { // inline content must not cross a block
		crosses = crosses || (offset+head)%blockSize+tail > blockSize
	}
	if crosses {
		offset = blocks(offset) * blockSize
	}
	in.nid = offset / slot
	end := offset + head + tail
	return (end + slot - 1) / slot * slot
}

func (in *inode) inlines() bool { return in.stored() && in.size <= inlineMax }

// stored reports whether the layout itself stores content of in: all but what went to blocks through Put.
func (in *inode) stored() bool { return in.IsDir() || len(in.tail) > 0 }

// ownBlocks reports whether the layout stores in's content in blocks of its own.
func (in *inode) ownBlocks() bool { return in.stored() && in.format == flatPlain }
