package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/holdfast/holdfast"
)

// Import reads an image from a tar stream, which may be compressed with gzip or zstd: what `docker save` writes, an
// OCI image layout, or a root file system; which of them is seen by its first entry. ref names the image; when "", the
// names in the archive do, and all its images are imported. The first is returned. ErrInvalid when r holds none of
// these or its content is not what its digests say; then, and on a full disk, nothing of it remains.
func (s *Store) Import(ctx context.Context, r io.Reader, ref string, progress ProgressFunc) (Image, error) {
	var parsed Ref
	if ref != "" {
		var err error
		if parsed, err = ParseRef(ref); err != nil {
			return Image{}, err
		}
		if parsed.Digest != "" {
			return Image{}, holdfast.Errorf(holdfast.ErrInvalid, "import as %s: a digest cannot be given to an image", ref)
		}
	}
	report := &reporter{fn: progress}
	img, err := s.importStream(ctx, r, parsed, report)
	if err != nil {
		return Image{}, fmt.Errorf("import image %s: %w", ref, s.explainFull(err))
	}
	report.report(Progress{Step: Done, Text: img.Ref})
	return img, nil
}

func (s *Store) importStream(ctx context.Context, r io.Reader, ref Ref, report *reporter) (Image, error) {
	counted := report.reader(&ctxReader{ctx, r}, Progress{Step: Importing})
	zr, err := decompress(counted)
	if err != nil {
		return Image{}, err
	}
	defer zr.Close()
	var head bytes.Buffer
	kind, err := detectTar(io.TeeReader(zr, &head))
	if err != nil {
		return Image{}, err
	}
	stream := io.MultiReader(&head, zr)
	if kind == RootfsTar {
		return s.importRootfs(ctx, stream, ref, report)
	}
	return s.importArchive(ctx, stream, ref, report)
}

// TarKind says what a tar that can be imported holds.
type TarKind string

// Kinds of tar.
const (
	ArchiveTar TarKind = "archive" // images, as docker save or an OCI layout has them
	RootfsTar  TarKind = "rootfs"
)

// Detect reads the beginning of r, which may be compressed, and says what it holds. ErrInvalid when it is no tar.
func Detect(r io.Reader) (TarKind, error) {
	zr, err := decompress(r)
	if err != nil {
		return "", err
	}
	defer zr.Close()
	return detectTar(zr)
}

func detectTar(r io.Reader) (TarKind, error) {
	first, err := tar.NewReader(r).Next()
	if err != nil {
		return "", holdfast.Errorf(holdfast.ErrInvalid, "it is not a tar archive: %w", err)
	}
	if isArchiveEntry(cleanEntry(first.Name)) {
		return ArchiveTar, nil
	}
	return RootfsTar, nil
}

var archiveEntry = regexp.MustCompile(`^(oci-layout|index\.json|manifest\.json|repositories|blobs(/.*)?|` +
	`(sha256:)?[0-9a-f]{64}(\.json|\.tar|\.tar\.gz|/(VERSION|json|layer\.tar))?)$`)

// isArchiveEntry reports whether a tar with an entry of this name is an archive of images, not a root file system.
func isArchiveEntry(name string) bool { return archiveEntry.MatchString(name) }

func cleanEntry(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// importRootfs files a tar of a root file system as an image of one layer and an empty config.
func (s *Store) importRootfs(ctx context.Context, r io.Reader, ref Ref, report *reporter) (Image, error) {
	if ref.Repo == "" {
		return Image{}, holdfast.Errorf(holdfast.ErrInvalid, "a root file system needs a name to be imported under")
	}
	pr, pw := io.Pipe()
	diffID := sha256.New()
	go func() { pw.CloseWithError(compress(pw, io.TeeReader(r, diffID))) }()
	digest, size, err := s.putBlob(ctx, pr)
	pr.CloseWithError(err)
	if err != nil {
		return Image{}, blameLayer(err)
	}
	cfg := v1.ConfigFile{
		OS: s.opt.Platform.OS, Architecture: s.opt.Platform.Architecture,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{{Algorithm: "sha256", Hex: hex.EncodeToString(diffID.Sum(nil))}}},
	}
	layer := v1.Descriptor{MediaType: types.OCILayerZStd, Size: size, Digest: mustHash(digest)}
	img, err := s.importImage(ctx, ref, cfg, []v1.Descriptor{layer}, report)
	if err != nil {
		err = errors.Join(err, s.forget([]string{digest}))
	}
	return img, err
}

// importImage writes config and manifest for layers that are in the store, and files the image.
func (s *Store) importImage(ctx context.Context, ref Ref, cfg v1.ConfigFile, layers []v1.Descriptor, report *reporter) (Image, error) {
	data, err := json.Marshal(cfg)
	if err != nil {
		return Image{}, err
	}
	config, err := s.putBytes(ctx, data)
	if err != nil {
		return Image{}, err
	}
	return s.importManifest(ctx, ref, v1.Descriptor{
		MediaType: types.OCIConfigJSON, Size: int64(len(data)), Digest: mustHash(config),
	}, layers, report)
}

func (s *Store) importManifest(ctx context.Context, ref Ref, config v1.Descriptor, layers []v1.Descriptor, report *reporter) (Image, error) {
	data, err := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: layers})
	if err != nil {
		return Image{}, err
	}
	digest, err := s.putBytes(ctx, data)
	if err != nil {
		return Image{}, err
	}
	img, err := s.assemble(ctx, ref, digest, report)
	if err != nil {
		brought := []string{digest, config.Digest.String()}
		for _, l := range layers {
			brought = append(brought, l.Digest.String())
		}
		return Image{}, errors.Join(err, s.forget(brought))
	}
	return img, nil
}

// compress writes r to w with zstd.
func compress(w io.Writer, r io.Reader) error {
	zw, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if _, err := io.Copy(zw, r); err != nil {
		return err
	}
	return zw.Close()
}

// mustHash converts a digest that this package made or checked.
func mustHash(digest string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(digest, "sha256:")}
}
