package build

import (
	"os"
	"os/exec"
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
	return res, importFile(t, res)
}

func importFile(t testing.TB, res Result) image.Image {
	t.Helper()
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
	return img
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

// BenchmarkDebian builds images of servers, with the lists of packages in the cache from the second on, and reports
// their sizes.
func BenchmarkDebian(b *testing.B) {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		b.Skip("mmdebstrap is not installed")
	}
	for _, p := range []string{"nginx-light", "apache2", "postgresql-15"} {
		b.Run(p, func(b *testing.B) {
			src := holdfast.ImageSource{Ref: "a/b", Debian: &holdfast.DebianSource{Packages: []string{p}}}
			for b.Loop() {
				res, err := Build(b.Context(), src, Options{CacheDir: sharedCache, Rebuild: true})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				img := importFile(b, res)
				b.ReportMetric(float64(img.Layers[0].Size)/1e6, "MB-compressed")
				b.ReportMetric(float64(img.Size-img.Layers[0].Size)/1e6, "MB-unpacked")
				b.StartTimer()
			}
		})
	}
}
