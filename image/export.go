package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Export writes the image ref to w as a tar that is both an OCI image layout and what `docker load` reads. Only this
// platform's part of a multi-platform image is in it. ErrNotFound when the store does not have it.
func (s *Store) Export(ctx context.Context, ref string, w io.Writer) error {
	r, err := ParseRef(ref)
	if err != nil {
		return err
	}
	digest, rec, err := s.find(r)
	if err != nil {
		return err
	}
	defer s.hold(rec.content(digest)...)()
	if err := s.export(ctx, r, rec, w); err != nil {
		return fmt.Errorf("export image %s: %w", r, err)
	}
	return nil
}

func (s *Store) export(ctx context.Context, ref Ref, rec record, w io.Writer) error {
	manifest, err := s.readBlob(rec.Manifest)
	if err != nil {
		return err
	}
	m, err := parseManifest(manifest, "")
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{{
		MediaType: m.mediaType, Size: int64(len(manifest)), Digest: mustHash(rec.Manifest),
		Annotations: map[string]string{annotationName: ref.Name(), annotationRefName: ref.Name()},
	}}}
	if err := writeEntry(tw, layoutVersionName, []byte(layoutVersion)); err != nil {
		return err
	}
	if err := writeJSON(tw, layoutIndex, index); err != nil {
		return err
	}
	saved := map[string]any{"Config": layoutBlobs + mustHash(rec.Config).Hex, "RepoTags": []string{ref.Name()}}
	var layers, digests []string
	for _, l := range rec.Layers {
		layers = append(layers, layoutBlobs+mustHash(l.Digest).Hex)
		digests = append(digests, l.Digest)
	}
	saved["Layers"] = layers
	if err := writeJSON(tw, savedManifestsName, []any{saved}); err != nil {
		return err
	}
	digests = append(digests, rec.Manifest, rec.Config)
	slices.Sort(digests)
	for _, d := range slices.Compact(digests) {
		if err := s.writeBlob(ctx, tw, d); err != nil {
			return err
		}
	}
	return tw.Close()
}

func (s *Store) writeBlob(ctx context.Context, tw *tar.Writer, digest string) error {
	f, err := s.openBlob(digest)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Name: layoutBlobs + mustHash(digest).Hex, Mode: 0o644, Size: info.Size()}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, &ctxReader{ctx, f})
	return err
}

func writeJSON(tw *tar.Writer, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeEntry(tw, name, data)
}

func writeEntry(tw *tar.Writer, name string, data []byte) error {
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := tw.Write(data)
	return err
}
