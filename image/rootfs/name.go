package rootfs

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

const (
	maxPath    = 4096
	maxName    = 255
	maxSymlink = 4095
	maxFollow  = 40 // symbolic links followed in one path, as the kernel
)

// split cleans the path of a tar entry and returns its components; none for the root itself. A path may be absolute,
// which means the root of the image; one that leaves the root is refused.
func split(path string) ([]string, error) {
	if len(path) > maxPath {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "path of %d bytes is longer than %d", len(path), maxPath)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "path %q has a zero byte", path)
	}
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		switch {
		case part == "" || part == ".":
		case part == "..":
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "path %q leaves the image", path)
		case len(part) > maxName:
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "name %.40q… of %d bytes is longer than %d", part, len(part), maxName)
		default:
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// Resolve returns the node at path, following symbolic links inside the tree, or nil when there is none.
func (t *Tree) Resolve(path string) *Node {
	n, err := t.walk(strings.Split(path, "/"), false)
	if err != nil {
		return nil
	}
	return n
}

// parent returns the directory that holds the last component of parts, following symbolic links on the way inside the
// tree. Directories that are missing are made, and all on the way count as touched by the present layer.
func (t *Tree) parent(parts []string) (*Node, error) {
	return t.walk(parts[:len(parts)-1], true)
}

// walk follows parts from the root. ".." stays inside the root, as after chroot(2). With create it makes missing
// directories and marks names as touched; without, a missing name is an error.
func (t *Tree) walk(parts []string, create bool) (*Node, error) {
	stack := []*Node{t.root}
	todo := append([]string(nil), parts...)
	follows := 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		dir := stack[len(stack)-1]
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			stack = stack[:max(1, len(stack)-1)]
			continue
		case !dir.IsDir():
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "%q lies below what is not a directory", strings.Join(parts, "/"))
		}
		e, err := t.step(dir, part, create)
		if err != nil {
			return nil, err
		}
		if e.node.Type() != unix.S_IFLNK {
			stack = append(stack, e.node)
			continue
		}
		if follows++; follows > maxFollow {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "%q passes more than %d symbolic links", strings.Join(parts, "/"), maxFollow)
		}
		if strings.HasPrefix(e.node.Target, "/") {
			stack = stack[:1]
		}
		todo = append(strings.Split(e.node.Target, "/"), todo...)
	}
	end := stack[len(stack)-1]
	if create && !end.IsDir() {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "%q is not a directory", strings.Join(parts, "/"))
	}
	return end, nil
}

func (t *Tree) step(dir *Node, name string, create bool) (*entry, error) {
	e := dir.children[name]
	if e == nil {
		if !create {
			return nil, holdfast.Errorf(holdfast.ErrNotFound, "%q does not exist", name)
		}
		if len(name) > maxName {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "name of %d bytes is longer than %d", len(name), maxName)
		}
		e = &entry{node: newDir()}
		dir.children[name] = e
	}
	if create {
		e.layer = t.layer
	}
	return e, nil
}
