package image

import (
	"context"
	"errors"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/holdfast/holdfast"
)

// putManifest files an image that was pushed. Its content must be there already. An image is unpacked before the push
// is acknowledged, so that what is listed can be run.
func (g *server) putManifest(w http.ResponseWriter, r *http.Request, rt route) error {
	data, err := readSmall(http.MaxBytesReader(w, r.Body, maxManifest+1))
	if err != nil {
		return apiErr(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "read manifest: %v", err)
	}
	digest := digestOf(data)
	byDigest := digestPattern.MatchString(rt.arg)
	if byDigest && digest != rt.arg {
		return apiErr(http.StatusBadRequest, "DIGEST_INVALID", "manifest has content %s", digest)
	}
	m, err := parseManifest(data, r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	parsed, err := refOf(r, rt)
	if err != nil {
		return err
	}
	if byDigest {
		parsed = Ref{} // a part of an index, or named later
	}
	if err := g.acceptManifest(r.Context(), parsed, digest, data, m); err != nil {
		return err
	}
	w.Header().Set("Location", "/v2/"+rt.name+"/manifests/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (g *server) acceptManifest(ctx context.Context, parsed Ref, digest string, data []byte, m manifest) error {
	s := g.store
	if m.image != nil {
		for _, d := range append([]v1.Descriptor{m.image.Config}, m.image.Layers...) {
			if !s.hasBlob(d.Digest.String()) {
				return apiErr(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "%s was not pushed", d.Digest)
			}
		}
	}
	release := s.hold(digest)
	defer release()
	if _, err := s.putBytes(ctx, data); err != nil {
		return err
	}
	_, err := s.assemble(ctx, parsed, digest, &reporter{})
	if parsed.Repo == "" && errors.Is(err, holdfast.ErrUnsupported) { // another platform's part of an index
		return s.syncBlobs()
	}
	if errors.Is(err, holdfast.ErrNotFound) {
		return apiErr(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "%v", err)
	}
	return err
}

// deleteManifest takes a tag from its image, or removes an image by its digest.
func (g *server) deleteManifest(w http.ResponseWriter, r *http.Request, rt route) error {
	parsed, err := refOf(r, rt)
	if err != nil {
		return err
	}
	if err := g.store.Remove(r.Context(), parsed.String()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
