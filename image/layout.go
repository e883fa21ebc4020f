package image

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/holdfast/holdfast"
)

// Annotations by which archives name their images.
const (
	annotationName     = "io.containerd.image.name"
	annotationRefName  = "org.opencontainers.image.ref.name"
	layoutVersion      = `{"imageLayoutVersion":"1.0.0"}`
	layoutBlobs        = "blobs/sha256/"
	layoutIndex        = "index.json"
	layoutVersionName  = "oci-layout"
	savedManifestsName = "manifest.json"
)

// importLayout files the images of an OCI image layout.
func (s *Store) importLayout(ctx context.Context, a *archive, ref Ref, report *reporter) (Image, error) {
	var index v1.IndexManifest
	if err := a.decode(layoutIndex, &index); err != nil {
		return Image{}, err
	}
	if err := checkDescriptors(index.Manifests); err != nil {
		return Image{}, holdfast.Errorf(holdfast.ErrInvalid, "%s: %w", layoutIndex, err)
	}
	tops := index.Manifests
	if ref.Repo != "" && len(tops) > 1 { // several platforms of one image, or several images
		d, err := choose(&index, s.opt.Platform)
		if err != nil {
			return Image{}, err
		}
		tops = []v1.Descriptor{d}
	}
	var first Image
	for _, top := range tops {
		refs, err := archiveRefs(ref, layoutNames(top))
		if err != nil {
			return Image{}, err
		}
		img, err := s.importLayoutOne(ctx, a, refs[0], top.Digest.String(), report)
		if err != nil {
			return Image{}, err
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

func layoutNames(d v1.Descriptor) []string {
	for _, key := range []string{annotationName, annotationRefName} {
		if name := d.Annotations[key]; name != "" {
			return []string{name}
		}
	}
	return nil
}

func (s *Store) importLayoutOne(ctx context.Context, a *archive, ref Ref, top string, report *reporter) (Image, error) {
	digests, err := s.layoutContent(a, top)
	if err != nil {
		return Image{}, err
	}
	release := s.hold(digests...)
	err = s.keepAll(a, digests)
	var img Image
	if err == nil {
		img, err = s.assemble(ctx, ref, top, report)
	}
	release()
	if err != nil {
		err = errors.Join(err, s.forget(digests))
	}
	return img, err
}

// layoutContent returns the digests of all that the image top of the archive is made of.
func (s *Store) layoutContent(a *archive, top string) ([]string, error) {
	digests := []string{top}
	m, err := a.manifest(top)
	if err != nil {
		return nil, err
	}
	if m.index != nil {
		d, err := choose(m.index, s.opt.Platform)
		if err != nil {
			return nil, err
		}
		digests = append(digests, d.Digest.String())
		if m, err = a.manifest(d.Digest.String()); err != nil {
			return nil, err
		}
	}
	if m.image == nil {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "%s is an index in an index", top)
	}
	digests = append(digests, m.image.Config.Digest.String())
	for _, l := range m.image.Layers {
		digests = append(digests, l.Digest.String())
	}
	return digests, nil
}

func (a *archive) manifest(digest string) (manifest, error) {
	f, err := a.find(layoutBlobs + mustHash(digest).Hex)
	if err != nil {
		return manifest{}, err
	}
	data, err := f.read()
	if err != nil {
		return manifest{}, err
	}
	m, err := parseManifest(data, "")
	if err != nil {
		return manifest{}, fmt.Errorf("%s: %w", digest, err)
	}
	return m, nil
}

// keepAll moves content from the archive into the store. A layer may be missing from the archive if the store has it.
func (s *Store) keepAll(a *archive, digests []string) error {
	for _, d := range digests {
		f, err := a.find(layoutBlobs + mustHash(d).Hex)
		if err != nil {
			if s.hasBlob(d) {
				continue
			}
			return err
		}
		if err := s.keep(f); err != nil {
			return err
		}
	}
	return nil
}
