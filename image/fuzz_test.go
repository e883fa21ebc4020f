package image

import (
	"archive/tar"
	"bytes"
	"testing"

	"github.com/holdfast/holdfast"
)

// FuzzImport gives any bytes to Import: what it refuses leaves nothing, what it takes can be read.
func FuzzImport(f *testing.F) {
	layer := tarOf(f, map[string]string{"a": "1"})
	f.Add(layer)
	f.Add(gzipped(f, layer))
	f.Add(savedTar(f, layer, "a:1"))
	f.Add(layoutTar(f, configOf(f, digestOf(layer)), string(layer), digestOf(layer), "a:1"))
	f.Add(makeTar(f, link("manifest.json", "index.json", tar.TypeSymlink)))
	s := openStore(f, f.TempDir(), Options{})
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := s.Import(t.Context(), bytes.NewReader(data), "fuzz/image:1", nil)
		if err == nil {
			if _, err := s.Get(t.Context(), img.Ref); err != nil {
				t.Error(err)
			}
			if err := s.Remove(t.Context(), img.Ref); err != nil {
				t.Error(err)
			}
		} else if holdfast.KindOf(err) == nil && !isFull(err) {
			t.Errorf("error without a kind: %v", err)
		}
		if left := used(t, s.path(tmpDir)); left != 0 {
			t.Errorf("%d bytes stay", left)
		}
	})
}
