package image

import (
	"context"
	"fmt"

	"github.com/holdfast/holdfast"
)

// assemble files the image with the given digest, whose content is in the store already but not in the index, under
// ref, and unpacks it.
func (s *Store) assemble(ctx context.Context, ref Ref, digest string, report *reporter) (Image, error) {
	rec := record{Manifest: digest}
	m, err := s.storedManifest(digest)
	if err != nil {
		return Image{}, err
	}
	if m.index != nil {
		d, err := choose(m.index, s.opt.Platform)
		if err != nil {
			return Image{}, err
		}
		rec.Manifest = d.Digest.String()
		if m, err = s.storedManifest(rec.Manifest); err != nil {
			return Image{}, err
		}
		if m.image == nil {
			return Image{}, holdfast.Errorf(holdfast.ErrInvalid, "%s is an index in an index", rec.Manifest)
		}
	}
	rec.Config, rec.Layers = m.image.Config.Digest.String(), layersOf(m.image)
	release := s.hold(rec.content(digest)...)
	defer release()
	for _, d := range rec.content(digest) {
		if !s.hasBlob(d) {
			return Image{}, holdfast.Errorf(holdfast.ErrInvalid, "image %s needs %s, which is not there", digest, d)
		}
	}
	data, err := s.readBlob(rec.Config)
	if err != nil {
		return Image{}, err
	}
	cfg, err := s.parseConfig(data, m.image)
	if err != nil {
		return Image{}, err
	}
	defer s.hold(s.rootfsName(cfg.RootFS.DiffIDs))()
	u := unpacking{layers: rec.Layers, diffIDs: cfg.RootFS.DiffIDs, ready: allReady, report: report}
	if rec.Rootfs, rec.RootfsBytes, err = s.unpack(ctx, u); err != nil {
		return Image{}, err
	}
	return s.add(ctx, ref, digest, rec)
}

func (s *Store) storedManifest(digest string) (manifest, error) {
	data, err := s.readBlob(digest)
	if err != nil {
		return manifest{}, err
	}
	m, err := parseManifest(data, "")
	if err != nil {
		return manifest{}, fmt.Errorf("%s: %w", digest, err)
	}
	return m, nil
}
