package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// memory is a Content that keeps data in a map and knows what was dropped.
type memory struct {
	data map[Handle]string
	next Handle
}

func newMemory() *memory { return &memory{data: map[Handle]string{}} }

func (m *memory) Put(r io.Reader, size int64) (Handle, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, err
	}
	m.next++
	m.data[m.next] = string(data)
	return m.next, nil
}

func (m *memory) Drop(h Handle, size int64) error {
	if int64(len(m.data[h])) != size {
		return fmt.Errorf("drop %d with %d bytes, it has %d", h, size, len(m.data[h]))
	}
	delete(m.data, h)
	return nil
}

// layer makes a tar of lines: "name=data" a file, "name/" a directory, "name->target" a symbolic link, "name=>target" a
// hard link.
func layer(t testing.TB, lines ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, line := range lines {
		h, data := &tar.Header{Mode: 0o644}, ""
		if name, to, ok := strings.Cut(line, "=>"); ok {
			h.Name, h.Linkname, h.Typeflag = name, to, tar.TypeLink
		} else if name, to, ok := strings.Cut(line, "->"); ok {
			h.Name, h.Linkname, h.Typeflag = name, to, tar.TypeSymlink
		} else if name, text, ok := strings.Cut(line, "="); ok {
			h.Name, h.Typeflag, h.Size, data = name, tar.TypeReg, int64(len(text)), text
		} else {
			h.Name, h.Typeflag, h.Mode = line, tar.TypeDir, 0o755
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// show lists a tree in the form of layer, sorted, and checks what must hold of any tree.
func show(t testing.TB, tree *Tree, m *memory) []string {
	t.Helper()
	var lines []string
	names := map[*Node][]string{}
	var walk func(path string, n *Node)
	walk = func(path string, n *Node) {
		for _, name := range n.Names() {
			if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || len(name) > maxName {
				t.Errorf("name %q", name)
			}
			child, at := n.Child(name), path+name
			names[child] = append(names[child], at)
			switch {
			case child.IsDir():
				lines = append(lines, at+"/")
				walk(at+"/", child)
			case child.Type() == unix.S_IFLNK:
				lines = append(lines, at+"->"+child.Target)
			case child.Size == 0:
				lines = append(lines, at+"=")
			default:
				lines = append(lines, at+"="+m.data[child.Data])
			}
		}
	}
	walk("", tree.Root())
	kept := 0
	for n, at := range names {
		if n.Links != len(at) {
			t.Errorf("%v has %d names and says %d", at, len(at), n.Links)
		}
		if n.IsRegular() && n.Size > 0 {
			kept++
			if int64(len(m.data[n.Data])) != n.Size {
				t.Errorf("%v has lost its data", at)
			}
		}
	}
	if kept != len(m.data) {
		t.Errorf("%d files have data, %d are kept", kept, len(m.data))
	}
	slices.Sort(lines)
	return lines
}

func TestApply(t *testing.T) {
	tests := []struct {
		name   string
		layers [][]string
		want   []string
	}{
		{"one layer", [][]string{{"a=1", "d/", "d/b=2", "l->a", "./e/f=3", "/g=4"}},
			[]string{"a=1", "d/", "d/b=2", "e/", "e/f=3", "g=4", "l->a"}},
		{"file replaced", [][]string{{"a=1"}, {"a=2"}}, []string{"a=2"}},
		{"twice in a layer", [][]string{{"a=1", "a=2"}}, []string{"a=2"}},
		{"directory keeps children", [][]string{{"d/", "d/a=1"}, {"d/", "d/b=2"}}, []string{"d/", "d/a=1", "d/b=2"}},
		{"directory becomes file", [][]string{{"d/a=1", "d/e/f=2"}, {"d=x"}}, []string{"d=x"}},
		{"file becomes directory", [][]string{{"d=x"}, {"d/", "d/a=1"}}, []string{"d/", "d/a=1"}},
		{"whiteout", [][]string{{"a=1", "b=2", "d/c=3"}, {".wh.a=", "d/.wh.c="}}, []string{"b=2", "d/"}},
		{"whiteout of directory", [][]string{{"d/a=1", "d/e/b=2"}, {".wh.d="}}, nil},
		{"whiteout of nothing", [][]string{{"a=1"}, {".wh.b="}}, []string{"a=1"}},
		{"whiteout spares its own layer, before", [][]string{{"d/a=1"}, {"d/", "d/b=2", ".wh.d="}}, []string{"d/", "d/b=2"}},
		{"whiteout spares its own layer, after", [][]string{{"d/a=1"}, {".wh.d=", "d/", "d/b=2"}}, []string{"d/", "d/b=2"}},
		{"opaque", [][]string{{"d/a=1", "d/e/b=2", "k=3"}, {"d/", "d/c=4", "d/.wh..wh..opq=", "d/f=5"}},
			[]string{"d/", "d/c=4", "d/f=5", "k=3"}},
		{"opaque spares below", [][]string{{"d/e/b=2"}, {"d/e/c=4", "d/.wh..wh..opq="}}, []string{"d/", "d/e/", "d/e/c=4"}},
		{"opaque twice", [][]string{{"d/a=1"}, {"d/.wh..wh..opq=", "d/b=2"}, {"d/.wh..wh..opq=", "d/c=3"}}, []string{"d/", "d/c=3"}},
		{"aufs files", [][]string{{".wh..wh.plnk/", ".wh..wh.aufs=", "a=1"}}, []string{"a=1"}},
		{"through a link", [][]string{{"usr/bin/", "bin->usr/bin"}, {"bin/sh=1"}}, []string{"bin->usr/bin", "usr/", "usr/bin/", "usr/bin/sh=1"}},
		{"through an absolute link", [][]string{{"run/", "var/run->/run"}, {"var/run/pid=1"}}, []string{"run/", "run/pid=1", "var/", "var/run->/run"}},
		{"through a link out", [][]string{{"x->../../../etc", "x/passwd=1"}}, []string{"etc/", "etc/passwd=1", "x->../../../etc"}},
		{"link replaced by directory", [][]string{{"usr/", "bin->usr"}, {"bin/", "bin/sh=1"}}, []string{"bin/", "bin/sh=1", "usr/"}},
		{"whiteout through a link", [][]string{{"usr/a=1", "l->usr"}, {"l/.wh.a="}}, []string{"l->usr", "usr/"}},
		{"hard link", [][]string{{"a=1", "b=>a"}}, []string{"a=1", "b=1"}},
		{"hard link to lower", [][]string{{"a=1"}, {"b=>/a"}}, []string{"a=1", "b=1"}},
		{"hard link outlives", [][]string{{"a=1"}, {"b=>a", ".wh.a="}}, []string{"b=1"}},
		{"hard link broken by write", [][]string{{"a=1", "b=>a"}, {"a=2"}}, []string{"a=2", "b=1"}},
		{"hard link over itself", [][]string{{"a=1", "b=>a"}, {"b=>a"}}, []string{"a=1", "b=1"}},
		{"hard link to a link", [][]string{{"a->x", "b=>a"}}, []string{"a->x", "b->x"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newMemory()
			tree := New(m)
			for _, lines := range test.layers {
				if err := tree.Apply(bytes.NewReader(layer(t, lines...))); err != nil {
					t.Fatal(err)
				}
			}
			if got := show(t, tree, m); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700, Uid: 1},
		{Name: "su", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 100000, Gid: 3, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": "c", "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.overlay.opaque": "y"}},
		{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	tw.Close()
	tree := New(newMemory())
	if err := tree.Apply(&buf); err != nil {
		t.Fatal(err)
	}
	if root := tree.Root(); root.Mode != unix.S_IFDIR|0o700 || root.UID != 1 {
		t.Errorf("root is %+v", root)
	}
	su := tree.Resolve("/su")
	if su.Mode != unix.S_IFREG|0o4755 || su.UID != 100000 || su.GID != 3 || len(su.Xattrs) != 1 || su.Xattrs["security.capability"] != "c" {
		t.Errorf("su is %+v", su)
	}
	if null := tree.Resolve("null"); null.Mode != unix.S_IFCHR|0o666 || null.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("null is %+v", null)
	}
}

func TestTooManyEntries(t *testing.T) {
	tree := New(newMemory())
	tree.max = 2
	if err := tree.Apply(bytes.NewReader(layer(t, "a=1", "b=2", "c=3"))); !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("error is %v", err)
	}
}

// FuzzApply gives two layers of any bytes: whatever they are, the tree stays a tree.
func FuzzApply(f *testing.F) {
	f.Add(layer(f, "d/", "d/a=1", "b=>d/a", "l->d"), layer(f, "l/x=2", "d/.wh.a=", "d/.wh..wh..opq="))
	f.Add(layer(f, "a->b", "b->a", "a/c=1"), []byte{})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		m := newMemory()
		tree := New(m)
		tree.max = 1000
		for _, data := range [][]byte{one, two} {
			limited := &limitedMemory{m, 1 << 20}
			tree.content = limited
			if err := tree.Apply(bytes.NewReader(data)); err != nil {
				return
			}
		}
		tree.content = m
		show(t, tree, m)
	})
}

// limitedMemory refuses large files, as a disk does.
type limitedMemory struct {
	*memory
	max int64
}

func (l *limitedMemory) Put(r io.Reader, size int64) (Handle, error) {
	if size > l.max {
		return 0, unix.ENOSPC
	}
	return l.memory.Put(r, size)
}
