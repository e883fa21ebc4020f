// Package rootfs flattens the layers of an image into one tree of files in memory: whiteouts, opaque directories, hard
// links and symbolic links in parents are resolved as container engines do, and everything that could reach outside the
// tree is refused. Only the names and attributes are in memory; the data goes to a Content as it is read.
//
// May import only the root package and libraries.
package rootfs

import (
	"io"
	"sort"

	"golang.org/x/sys/unix"
)

// Content takes the data of regular files while layers are read.
type Content interface {
	// Put stores size bytes of r and returns a handle to them. size is above 0.
	Put(r io.Reader, size int64) (Handle, error)
	// Drop tells that no file of the tree has the size bytes of h any more.
	Drop(h Handle, size int64) error
}

// Handle names data in a Content.
type Handle int64

// Node is a file of any type. A node with several names is a hard link.
type Node struct {
	Mode    uint32 // as in stat(2), type included
	UID     uint32
	GID     uint32
	Rdev    uint64 // of devices, as unix.Mkdev makes it
	Mtime   int64  // seconds
	MtimeNs uint32
	Size    int64  // of regular files
	Data    Handle // of regular files with a Size above 0
	Target  string // of symbolic links
	Xattrs  map[string]string
	Links   int // names that this node has

	children map[string]*entry // of directories
}

// entry is a name in a directory.
type entry struct {
	node  *Node
	layer int // the last layer that touched this name or one below it
}

// Type returns the type bits of Mode.
func (n *Node) Type() uint32 { return n.Mode & unix.S_IFMT }

// IsDir reports whether n is a directory.
func (n *Node) IsDir() bool { return n.Type() == unix.S_IFDIR }

// IsRegular reports whether n is a regular file.
func (n *Node) IsRegular() bool { return n.Type() == unix.S_IFREG }

// Names returns the names in directory n, sorted bytewise.
func (n *Node) Names() []string {
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Child returns what directory n has under name, or nil.
func (n *Node) Child(name string) *Node {
	if e := n.children[name]; e != nil {
		return e.node
	}
	return nil
}

// Tree is a root file system in the making.
type Tree struct {
	root    *Node
	content Content
	layer   int // number of the layer being applied, from 1
	entries int
	max     int
}

// DefaultMaxEntries bounds how many entries all layers of an image may have together.
const DefaultMaxEntries = 4 << 20

// New returns an empty tree whose files' data goes to content.
func New(content Content) *Tree {
	return &Tree{root: newDir(), content: content, max: DefaultMaxEntries}
}

// Root returns the root directory.
func (t *Tree) Root() *Node { return t.root }

func newDir() *Node {
	return &Node{Mode: unix.S_IFDIR | 0o755, Links: 1, children: map[string]*entry{}}
}

// set puts n under name in dir, in place of what was there. A directory that replaces a directory keeps its children.
func (t *Tree) set(dir *Node, name string, n *Node) error {
	old := dir.children[name]
	if old != nil && old.node == n {
		old.layer = t.layer
		return nil
	}
	n.Links++
	if n.IsDir() && n.children == nil {
		n.children = map[string]*entry{}
	}
	if old != nil && old.node.IsDir() && n.IsDir() {
		n.children = old.node.children
		old.node.children = nil
	}
	dir.children[name] = &entry{node: n, layer: t.layer}
	if old != nil {
		return t.unlink(old.node)
	}
	return nil
}

// remove takes name and all below it out of dir.
func (t *Tree) remove(dir *Node, name string) error {
	e := dir.children[name]
	if e == nil {
		return nil
	}
	delete(dir.children, name)
	return t.unlink(e.node)
}

// unlink counts one name less for n, and drops its data, or what is below it, with the last.
func (t *Tree) unlink(n *Node) error {
	n.Links--
	if n.Links > 0 {
		return nil
	}
	for _, name := range n.Names() {
		if err := t.remove(n, name); err != nil {
			return err
		}
	}
	if n.IsRegular() && n.Size > 0 {
		return t.content.Drop(n.Data, n.Size)
	}
	return nil
}

// removeLower takes out of dir all that the present layer did not touch: what an opaque directory means.
func (t *Tree) removeLower(dir *Node) error {
	for _, name := range dir.Names() {
		e := dir.children[name]
		if e.layer < t.layer {
			if err := t.remove(dir, name); err != nil {
				return err
			}
			continue
		}
		if e.node.IsDir() {
			if err := t.removeLower(e.node); err != nil {
				return err
			}
		}
	}
	return nil
}
