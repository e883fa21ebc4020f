package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
)

// rootAt treats dir as a container's root.
func rootAt(t *testing.T, dir string) *Root {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &Root{dir: f}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTrip(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, from+"/data/a/one", "1")
	write(t, from+"/data/two", "2")
	must(t, os.Symlink("/etc/passwd", from+"/data/link"))
	must(t, os.Link(from+"/data/two", from+"/data/two-again"))
	must(t, os.Chown(from+"/data/two", 123, 456))
	must(t, os.Chmod(from+"/data/a", 0o755|os.ModeSetgid))
	var buf bytes.Buffer
	must(t, rootAt(t, from).Pack("/data", &buf))
	must(t, rootAt(t, to).Unpack("/", &buf))
	for name, want := range map[string]string{"data/a/one": "1", "data/two": "2", "data/two-again": "2"} {
		got, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if link, _ := os.Readlink(to + "/data/link"); link != "/etc/passwd" {
		t.Errorf("link is %q", link)
	}
	info, err := os.Stat(to + "/data/a")
	must(t, err)
	if info.Mode()&os.ModeSetgid == 0 {
		t.Errorf("mode is %s", info.Mode())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOwnersAreTheContainers(t *testing.T) {
	const base = 200_000
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	root := rootAt(t, dir)
	root.ids = base
	must(t, root.Unpack("/", tarOf(t, tar.Header{Name: "sub/f", Typeflag: tar.TypeReg, Uid: 33, Gid: 34, Mode: 0o4755, Size: 1})))
	var buf bytes.Buffer
	must(t, root.Pack("/sub", &buf))
	r := tar.NewReader(&buf)
	owners := map[string][3]int{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		owners[h.Name] = [3]int{h.Uid, h.Gid, int(h.Mode)}
	}
	if owners["sub/f"] != [3]int{33, 34, 0o4755} || owners["sub/"] != [3]int{0, 0, 0o755} {
		t.Fatalf("owners %v", owners)
	}
}

func tarOf(t *testing.T, headers ...tar.Header) io.Reader {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		must(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := io.WriteString(w, strings.Repeat("x", int(h.Size)))
			must(t, err)
		}
	}
	must(t, w.Close())
	return &buf
}

func TestNothingGetsOutOfTheRoot(t *testing.T) {
	reg := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: 1}
	}
	for _, tc := range []struct {
		name    string
		headers []tar.Header
		kind    error // nil: unpacks, inside
	}{
		{"dots", []tar.Header{reg("../../escaped")}, holdfast.ErrInvalid},
		{"link, then through it", []tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/"}, reg("l/escaped")}, nil},
		{"relative link, then through it", []tar.Header{{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../../../.."}, reg("l/escaped")}, nil},
		{"hard link to outside", []tar.Header{{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../../etc/passwd"}}, holdfast.ErrInvalid},
		{"device", []tar.Header{{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8}}, holdfast.ErrUnsupported},
		{"over a link", []tar.Header{{Name: "escaped", Typeflag: tar.TypeSymlink, Linkname: "/outside"}, reg("escaped")}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			outer := t.TempDir()
			root := filepath.Join(outer, "root")
			must(t, os.MkdirAll(root+"/in/dir", 0o755))
			write(t, outer+"/outside", "old")
			err := rootAt(t, root).Unpack("/in/dir", tarOf(t, tc.headers...))
			if tc.kind == nil && err != nil || tc.kind != nil && !errors.Is(err, tc.kind) {
				t.Fatalf("got %v, want kind %v", err, tc.kind)
			}
			entries, err := os.ReadDir(outer)
			must(t, err)
			names := []string{}
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if !slices.Equal(names, []string{"outside", "root"}) {
				t.Fatalf("outside of the root: %v", names)
			}
			if text, _ := os.ReadFile(outer + "/outside"); string(text) != "old" {
				t.Fatalf("a file outside was changed to %q", text)
			}
		})
	}
}

func TestMissingPathsAreNotFound(t *testing.T) {
	root := rootAt(t, t.TempDir())
	if err := root.Pack("/none", io.Discard); !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("pack: %v", err)
	}
	if err := root.Unpack("/none", tarOf(t)); !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("unpack: %v", err)
	}
}
