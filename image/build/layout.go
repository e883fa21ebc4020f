package build

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"
	"strings"

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

// finish ends the stream and returns the layer, which is there until remove.
func (l *layerFile) finish() (layer, error) {
	if err := l.zstd.Close(); err != nil {
		return layer{}, err
	}
	size, err := l.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return layer{}, err
	}
	return layer{diffID: sum(l.diffID), digest: sum(l.digest), content: io.NewSectionReader(l.file, 0, size)}, nil
}

func sum(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// layer is one compressed layer of an image.
type layer struct {
	diffID, digest v1.Hash
	content        *io.SectionReader
}

func (l layer) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: types.OCILayerZStd, Size: l.content.Size(), Digest: l.digest}
}

// writeLayout writes an OCI image layout with the image of these layers, lowest first, and cfg to path. The same inputs
// give the same bytes.
func writeLayout(path string, cfg v1.Config, layers ...layer) error {
	file := v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: cfg, RootFS: v1.RootFS{Type: "layers"}}
	var descriptors []v1.Descriptor
	for _, l := range layers {
		file.RootFS.DiffIDs = append(file.RootFS.DiffIDs, l.diffID)
		descriptors = append(descriptors, l.descriptor())
	}
	config, err := json.Marshal(file)
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: describe(types.OCIConfigJSON, config), Layers: descriptors,
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
	return writeLayoutTar(path, layers, [][]byte{config, manifest}, index)
}

func describe(mediaType types.MediaType, data []byte) v1.Descriptor {
	s := sha256.Sum256(data)
	return v1.Descriptor{
		MediaType: mediaType, Size: int64(len(data)),
		Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(s[:])},
	}
}

func writeLayoutTar(path string, layers []layer, documents [][]byte, index []byte) error {
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
		if err := writeEntry(tw, blobsPrefix+describe("", data).Digest.Hex, data); err != nil {
			return err
		}
	}
	for _, l := range layers {
		if err := writeFile(tw, blobsPrefix+l.digest.Hex, 0o644, l.content, l.content.Size()); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return f.Close()
}

const blobsPrefix = "blobs/sha256/"

func writeEntry(tw *tar.Writer, name string, data []byte) error {
	return writeFile(tw, name, 0o644, bytes.NewReader(data), int64(len(data)))
}

func writeFile(tw *tar.Writer, name string, mode int64, r io.Reader, size int64) error {
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: size}); err != nil {
		return err
	}
	if _, err := io.Copy(tw, r); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// readLayout returns the layers of a layout that writeLayout wrote to f. They read from f.
func readLayout(f *os.File) ([]layer, error) {
	blobs := map[string]*io.SectionReader{}
	var index v1.IndexManifest
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		blobs[strings.TrimPrefix(h.Name, blobsPrefix)] = io.NewSectionReader(f, offset, h.Size)
	}
	var manifest v1.Manifest
	var config v1.ConfigFile
	if err := decode(blobs["index.json"], &index); err != nil || len(index.Manifests) != 1 {
		return nil, fmt.Errorf("read index.json: %w", err)
	}
	if err := decode(blobs[index.Manifests[0].Digest.Hex], &manifest); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if err := decode(blobs[manifest.Config.Digest.Hex], &config); err != nil || len(config.RootFS.DiffIDs) != len(manifest.Layers) {
		return nil, fmt.Errorf("read config: %w", err)
	}
	var layers []layer
	for i, l := range manifest.Layers {
		content := blobs[l.Digest.Hex]
		if content == nil || content.Size() != l.Size {
			return nil, fmt.Errorf("layer %s is not whole", l.Digest)
		}
		layers = append(layers, layer{config.RootFS.DiffIDs[i], l.Digest, content})
	}
	return layers, nil
}

func decode(r *io.SectionReader, v any) error {
	if r == nil {
		return fmt.Errorf("it is missing")
	}
	return json.NewDecoder(r).Decode(v)
}
