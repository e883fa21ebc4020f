package image

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	goerofs "github.com/erofs/go-erofs"
)

func openStore(t testing.TB, dir string, opt Options) *Store {
	t.Helper()
	if opt.Backoff == 0 {
		opt.Backoff = time.Millisecond
	}
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// tarOf makes a tar of files; a name that ends in "/" is a directory.
func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for name, data := range files {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(tw, data)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// imageOf makes an image of layers for this machine.
func imageOf(t testing.TB, layers ...[]byte) v1.Image {
	t.Helper()
	platform := Options{}.withDefaults().Platform
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: platform.OS, Architecture: platform.Architecture, Config: v1.Config{Cmd: []string{"/hello"}},
		RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// startRegistry serves an empty registry and returns its host.
func startRegistry(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func push(t testing.TB, ref string, img v1.Image) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
}

// readFile returns a file of an image's root file system.
func readFile(t testing.TB, img Image, path string) string {
	t.Helper()
	if img.EROFS == "" {
		data, err := os.ReadFile(img.Dirs[0] + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	f, err := os.Open(img.EROFS)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fsys, err := goerofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(fsys, path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPull(t *testing.T) {
	for _, plain := range []bool{false, true} {
		s := openStore(t, t.TempDir(), Options{PlainDirs: plain})
		ref := startRegistry(t) + "/app/web:1"
		push(t, ref, imageOf(t,
			tarOf(t, map[string]string{"hello": "old", "gone": "x"}),
			tarOf(t, map[string]string{"hello": "new", ".wh.gone": ""})))
		img, err := s.Pull(t.Context(), ref, PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := readFile(t, img, "hello"); got != "new" {
			t.Errorf("hello is %q", got)
		}
		again, err := s.Get(t.Context(), ref+"@"+img.Digest)
		if err != nil || again.Digest != img.Digest || again.Config.Config.Cmd[0] != "/hello" {
			t.Errorf("get pinned: %+v, %v", again, err)
		}
	}
}
