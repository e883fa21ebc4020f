package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/holdfast/holdfast"
)

const maxArchiveEntries = 20000

// archive is an archive of images, its entries in temporary files.
type archive struct {
	files map[string]*archiveFile // by cleaned name
	links map[string]string       // name to name
}

type archiveFile struct {
	path   string
	digest string
	size   int64
	// layerType is the media type it has if it is a layer.
	layerType types.MediaType
}

func (a *archive) close() {
	for _, f := range a.files {
		os.Remove(f.path)
	}
}

// find returns the file of that name, through links.
func (a *archive) find(name string) (*archiveFile, error) {
	name = cleanEntry(name)
	for range 8 {
		if f := a.files[name]; f != nil {
			return f, nil
		}
		to, ok := a.links[name]
		if !ok {
			break
		}
		name = to
	}
	return nil, holdfast.Errorf(holdfast.ErrInvalid, "archive has no %.100q", name)
}

func (a *archive) decode(name string, v any) error {
	f, err := a.find(name)
	if err != nil {
		return err
	}
	data, err := f.read()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "decode %s: %w", name, err)
	}
	return nil
}

func (f *archiveFile) read() ([]byte, error) {
	r, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readSmall(r)
}

// importArchive reads all of r and files the images in it.
func (s *Store) importArchive(ctx context.Context, r io.Reader, ref Ref, report *reporter) (Image, error) {
	a := &archive{files: map[string]*archiveFile{}, links: map[string]string{}}
	defer a.close()
	if err := s.readArchive(r, a); err != nil {
		return Image{}, err
	}
	if a.files["index.json"] != nil {
		return s.importLayout(ctx, a, ref, report)
	}
	return s.importSaved(ctx, a, ref, report)
}

func (s *Store) readArchive(r io.Reader, a *archive) error {
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return blameLayer(fmt.Errorf("read archive: %w", err))
		}
		if n == maxArchiveEntries {
			return holdfast.Errorf(holdfast.ErrInvalid, "archive has more than %d entries", maxArchiveEntries)
		}
		if err := s.readEntry(tr, h, a); err != nil {
			return fmt.Errorf("entry %.100q: %w", h.Name, err)
		}
	}
}

func (s *Store) readEntry(tr io.Reader, h *tar.Header, a *archive) error {
	name := cleanEntry(h.Name)
	if strings.Contains("/"+h.Name+"/", "/../") || strings.IndexByte(h.Name, 0) >= 0 || !isArchiveEntry(name) {
		return holdfast.Errorf(holdfast.ErrInvalid, "name does not belong into an archive of images")
	}
	if a.files[name] != nil || a.links[name] != "" {
		return holdfast.Errorf(holdfast.ErrInvalid, "it is there twice")
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return nil
	case tar.TypeSymlink: // how older docker versions write a layer that two images share
		a.links[name] = cleanEntry(path.Join(path.Dir(name), h.Linkname))
		return nil
	case tar.TypeLink:
		a.links[name] = cleanEntry(h.Linkname)
		return nil
	case tar.TypeReg:
	default:
		return holdfast.Errorf(holdfast.ErrInvalid, "type %q does not belong into an archive of images", h.Typeflag)
	}
	f, err := s.spool(tr)
	if err != nil {
		return blameLayer(err)
	}
	a.files[name] = f
	if hexName, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && f.digest != "sha256:"+hexName {
		return holdfast.Errorf(holdfast.ErrInvalid, "content is %s", f.digest)
	}
	return nil
}

// spool writes r to a temporary file.
func (s *Store) spool(r io.Reader) (*archiveFile, error) {
	f, err := s.tempFile()
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	br := bufio.NewReaderSize(r, 64<<10)
	head, _ := br.Peek(4) // an error comes again from Copy
	kind := layerType(head)
	size, err := io.Copy(io.MultiWriter(f, h), br)
	err = errors.Join(err, f.Close())
	if err != nil {
		os.Remove(f.Name())
		return nil, err
	}
	return &archiveFile{f.Name(), "sha256:" + hex.EncodeToString(h.Sum(nil)), size, kind}, nil
}

// keep moves an archive's file into the store.
func (s *Store) keep(a *archiveFile) error {
	if s.hasBlob(a.digest) {
		return nil
	}
	f, err := os.OpenFile(a.path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) { // two names in the archive with one content
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return s.adopt(f, a.digest)
}

// importSaved files what `docker save` wrote.
func (s *Store) importSaved(ctx context.Context, a *archive, ref Ref, report *reporter) (Image, error) {
	var saved []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := a.decode("manifest.json", &saved); err != nil {
		return Image{}, err
	}
	if ref.Repo != "" && len(saved) > 1 {
		return Image{}, holdfast.Errorf(holdfast.ErrInvalid, "archive has %d images; they cannot all be named %s", len(saved), ref)
	}
	var first Image
	for _, one := range saved {
		refs, err := archiveRefs(ref, one.RepoTags)
		if err != nil {
			return Image{}, err
		}
		img, err := s.importSavedOne(ctx, a, refs[0], one.Config, one.Layers, report)
		if err != nil {
			return Image{}, err
		}
		for _, other := range refs[1:] {
			if err := s.Tag(ctx, img.Ref, other.String()); err != nil {
				return Image{}, err
			}
		}
		if first.Ref == "" {
			first = img
		}
	}
	if first.Ref == "" {
		return Image{}, holdfast.Errorf(holdfast.ErrInvalid, "archive has no images")
	}
	return first, nil
}

// archiveRefs returns the names for an image of an archive: ref when given, else those of the archive.
func archiveRefs(ref Ref, names []string) ([]Ref, error) {
	if ref.Repo != "" {
		return []Ref{ref}, nil
	}
	var refs []Ref
	for _, name := range names {
		r, err := ParseRef(name)
		if err != nil {
			return nil, err
		}
		refs = append(refs, r)
	}
	if len(refs) == 0 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "the archive does not name its image; give a name to import it under")
	}
	return refs, nil
}

func (s *Store) importSavedOne(ctx context.Context, a *archive, ref Ref, config string, layers []string, report *reporter) (Image, error) {
	if len(layers) > maxLayers {
		return Image{}, holdfast.Errorf(holdfast.ErrInvalid, "%d layers are more than %d", len(layers), maxLayers)
	}
	var files []*archiveFile
	var digests []string
	for _, name := range append([]string{config}, layers...) {
		f, err := a.find(name)
		if err != nil {
			return Image{}, err
		}
		files, digests = append(files, f), append(digests, f.digest)
	}
	release := s.hold(digests...)
	img, err := s.importFiles(ctx, ref, files, report)
	release()
	if err != nil {
		err = errors.Join(err, s.forget(digests))
	}
	return img, err
}

// importFiles files the image whose config and layers are files, in that order.
func (s *Store) importFiles(ctx context.Context, ref Ref, files []*archiveFile, report *reporter) (Image, error) {
	descriptors := make([]v1.Descriptor, len(files))
	for i, f := range files {
		if err := s.keep(f); err != nil {
			return Image{}, err
		}
		descriptors[i] = v1.Descriptor{MediaType: f.layerType, Size: f.size, Digest: mustHash(f.digest)}
	}
	descriptors[0].MediaType = types.OCIConfigJSON
	return s.importManifest(ctx, ref, descriptors[0], descriptors[1:], report)
}

// layerType returns the media type of a layer that starts with head.
func layerType(head []byte) types.MediaType {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return types.OCILayer
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return types.OCILayerZStd
	}
	return types.OCIUncompressedLayer
}
