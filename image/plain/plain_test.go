package plain

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/image/rootfs"
)

func TestWriter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to change owners")
	}
	mtime := time.Unix(1700000000, 5000)
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range []tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 5, ModTime: mtime},
		{Name: "d/su", Typeflag: tar.TypeReg, Mode: 0o4711, Uid: 1000, Gid: 1001, Size: 4, ModTime: mtime, Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.user.note": "hi"}},
		{Name: "same", Typeflag: tar.TypeLink, Linkname: "d/su"},
		{Name: "gone", Typeflag: tar.TypeReg, Mode: 0o600, Size: 4},
		{Name: "empty", Typeflag: tar.TypeReg, Mode: 0o600},
		{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Name: ".wh.none", Typeflag: tar.TypeReg},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(tw, strings.Repeat("x", int(h.Size)))
	}
	tw.Close()
	w, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tree := rootfs.New(w)
	if err := tree.Apply(&buf); err != nil {
		t.Fatal(err)
	}
	var second bytes.Buffer
	tw = tar.NewWriter(&second)
	tw.WriteHeader(&tar.Header{Name: ".wh.gone", Typeflag: tar.TypeReg})
	tw.Close()
	if err := tree.Apply(&second); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(tree.Root()); err != nil {
		t.Fatal(err)
	}
	stat := func(name string) (st unix.Stat_t) {
		t.Helper()
		if err := unix.Lstat(filepath.Join(w.Root(), name), &st); err != nil {
			t.Error(err)
		}
		return st
	}
	su, same, d := stat("d/su"), stat("same"), stat("d")
	if su.Mode != unix.S_IFREG|0o4711 || su.Uid != 1000 || su.Gid != 1001 || su.Ino != same.Ino || su.Nlink != 2 || su.Mtim.Nsec != 5000 {
		t.Errorf("d/su is %+v", su)
	}
	if d.Mode != unix.S_IFDIR|0o1777 || d.Uid != 5 || d.Mtim.Sec != 1700000000 {
		t.Errorf("d is %+v", d)
	}
	if null := stat("null"); null.Mode != unix.S_IFCHR|0o666 || null.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("null is %+v", null)
	}
	value := make([]byte, 10)
	if n, err := unix.Lgetxattr(filepath.Join(w.Root(), "d/su"), "user.note", value); err != nil || string(value[:n]) != "hi" {
		t.Errorf("attribute is %q, %v", value[:n], err)
	}
	if to, err := os.Readlink(filepath.Join(w.Root(), "out")); err != nil || to != "/etc/passwd" {
		t.Errorf("link is %q, %v", to, err)
	}
	if _, err := os.Lstat(filepath.Join(w.Root(), "gone")); err == nil {
		t.Error("gone is there")
	}
	if w.Bytes != 4 {
		t.Errorf("%d bytes, want 4", w.Bytes)
	}
}
