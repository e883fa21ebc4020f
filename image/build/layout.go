package build

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// layerFile writes one layer, compressed, to a temporary file while its digests are made.
type layerFile struct {
	file   *os.File
	zstd   *zstd.Encoder
	diffID hash.Hash
	digest hash.Hash
}

func newLayerFile(dir string) (*layerFile, error) {
	f, err := os.CreateTemp(dir, "layer-*")
	if err != nil {
		return nil, err
	}
	l := &layerFile{file: f, diffID: sha256.New(), digest: sha256.New()}
	l.zstd, err = zstd.NewWriter(io.MultiWriter(f, l.digest), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		l.remove()
		return nil, err
	}
	return l, nil
}

// Write takes the uncompressed tar stream.
func (l *layerFile) Write(p []byte) (int, error) {
	l.diffID.Write(p)
	return l.zstd.Write(p)
}

func (l *layerFile) remove() {
	l.file.Close()
	os.Remove(l.file.Name())
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// writeLayout writes an OCI image layout with the image of one layer and cfg to path. The same inputs give the same
// bytes.
func writeLayout(path string, l *layerFile, cfg v1.Config) error {
	if err := l.zstd.Close(); err != nil {
		return err
	}
	size, err := l.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	config, err := json.Marshal(v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH, Config: cfg,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{sum(l.diffID)}},
	})
	if err != nil {
		return err
	}
	layer := v1.Descriptor{MediaType: types.OCILayerZStd, Size: size, Digest: sum(l.digest)}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: describe(types.OCIConfigJSON, config), Layers: []v1.Descriptor{layer},
	})
	if err != nil {
		return err
	}
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{describe(types.OCIManifestSchema1, manifest)},
	})
	if err != nil {
		return err
	}
	return writeLayoutTar(path, l, layer, [][]byte{config, manifest}, index)
}

func describe(mediaType types.MediaType, data []byte) v1.Descriptor {
	s := sha256.Sum256(data)
	return v1.Descriptor{
		MediaType: mediaType, Size: int64(len(data)),
		Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(s[:])},
	}
}

func writeLayoutTar(path string, l *layerFile, layer v1.Descriptor, documents [][]byte, index []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	if err := writeEntry(tw, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := writeEntry(tw, "index.json", index); err != nil {
		return err
	}
	for _, data := range documents {
		if err := writeEntry(tw, "blobs/sha256/"+describe("", data).Digest.Hex, data); err != nil {
			return err
		}
	}
	if err := tw.WriteHeader(&tar.Header{Name: "blobs/sha256/" + layer.Digest.Hex, Mode: 0o644, Size: layer.Size}); err != nil {
		return err
	}
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(tw, l.file); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return f.Close()
}

func writeEntry(tw *tar.Writer, name string, data []byte) error {
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}
