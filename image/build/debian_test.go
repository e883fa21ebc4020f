package build

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/image"
)

// importInto builds src and imports the result into a fresh store.
func importInto(t *testing.T, src holdfast.ImageSource, opt Options) (Result, image.Image) {
	t.Helper()
	if opt.CacheDir == "" {
		opt.CacheDir = t.TempDir()
	}
	res, err := Build(t.Context(), src, opt)
	if err != nil {
		t.Fatal(err)
	}
	s, err := image.Open(t.TempDir(), image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	f, err := os.Open(res.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := s.Import(t.Context(), f, res.Ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res, img
}

func needMmdebstrap(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("downloads Debian packages")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("mmdebstrap is not installed")
	}
}

func TestDebianNginx(t *testing.T) {
	needMmdebstrap(t)
	src := holdfast.ImageSource{Ref: "holdfast.local/test/nginx", Debian: &holdfast.DebianSource{Packages: []string{"nginx-light"}}}
	cache := t.TempDir()
	if dir := os.Getenv("IMAGE_CACHE"); dir != "" {
		cache = dir
	}
	res, img := importInto(t, src, Options{CacheDir: cache, Progress: func(p image.Progress) { t.Log(p.Text) }})
	if !strings.HasPrefix(res.Ref, "holdfast.local/test/nginx:") || img.Layers == nil {
		t.Fatalf("%+v %+v", res, img)
	}
	t.Logf("%d layer bytes, %d on disk, %s", img.Layers[0].Size, img.Size, img.EROFS)
}
