package image

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/holdfast/holdfast"
)

const (
	maxLayers = 1000
	maxSize   = 1 << 50
)

// manifest is either an image manifest or an index of them.
type manifest struct {
	mediaType types.MediaType
	image     *v1.Manifest
	index     *v1.IndexManifest
}

// parseManifest parses and checks what a registry, archive or client sent. mediaType may be "".
func parseManifest(data []byte, mediaType string) (manifest, error) {
	m, err := decodeManifest(data, mediaType)
	if err != nil {
		return manifest{}, holdfast.Errorf(holdfast.ErrInvalid, "parse manifest: %w", err)
	}
	return m, nil
}

func decodeManifest(data []byte, mediaType string) (manifest, error) {
	var head struct {
		SchemaVersion int64           `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return manifest{}, err
	}
	if head.SchemaVersion != 2 {
		return manifest{}, fmt.Errorf("schema version is %d; only 2 is supported", head.SchemaVersion)
	}
	if head.Manifests != nil && head.Layers != nil {
		return manifest{}, fmt.Errorf("it is both an image and an index")
	}
	m := manifest{mediaType: head.MediaType}
	if m.mediaType == "" {
		m.mediaType = types.MediaType(mediaType)
	}
	if m.mediaType == "" || m.mediaType == "application/json" {
		m.mediaType = types.OCIManifestSchema1
		if head.Manifests != nil {
			m.mediaType = types.OCIImageIndex
		}
	}
	switch {
	case m.mediaType.IsIndex():
		m.index = &v1.IndexManifest{}
		if err := json.Unmarshal(data, m.index); err != nil {
			return manifest{}, err
		}
		return m, checkDescriptors(m.index.Manifests)
	case m.mediaType.IsImage():
		m.image = &v1.Manifest{}
		if err := json.Unmarshal(data, m.image); err != nil {
			return manifest{}, err
		}
		return m, checkImage(m.image)
	}
	return manifest{}, fmt.Errorf("media type %q is not an image's", m.mediaType)
}

func checkImage(m *v1.Manifest) error {
	if len(m.Layers) > maxLayers {
		return fmt.Errorf("%d layers are more than %d", len(m.Layers), maxLayers)
	}
	if m.Config.Size > maxManifest {
		return fmt.Errorf("config of %d bytes is larger than %d", m.Config.Size, maxManifest)
	}
	for i, l := range m.Layers {
		if !l.MediaType.IsDistributable() || len(l.URLs) > 0 {
			return fmt.Errorf("layer %d is not distributable (%s)", i+1, l.MediaType)
		}
	}
	return checkDescriptors(append([]v1.Descriptor{m.Config}, m.Layers...))
}

func checkDescriptors(ds []v1.Descriptor) error {
	for _, d := range ds {
		if err := checkDigest(d.Digest.String()); err != nil {
			return err
		}
		if d.Size < 0 || d.Size > maxSize {
			return fmt.Errorf("%s has size %d", d.Digest, d.Size)
		}
	}
	return nil
}

// choose returns the entry of index for platform want.
func choose(index *v1.IndexManifest, want v1.Platform) (v1.Descriptor, error) {
	var offered []string
	for _, d := range index.Manifests {
		if !d.MediaType.IsImage() && d.MediaType != "" {
			continue
		}
		if d.Platform == nil && len(index.Manifests) == 1 {
			return d, nil
		}
		if d.Platform == nil || d.Platform.OS == "unknown" { // attestations
			continue
		}
		if runsOn(*d.Platform, want) {
			return d, nil
		}
		offered = append(offered, d.Platform.String())
	}
	sort.Strings(offered)
	return v1.Descriptor{}, holdfast.Errorf(holdfast.ErrUnsupported, "no image for %s (there is: %s)", want, strings.Join(offered, ", "))
}

func runsOn(p, want v1.Platform) bool {
	return p.OS == want.OS && p.Architecture == want.Architecture &&
		(want.Variant == "" || p.Variant == "" || p.Variant == want.Variant)
}

// parseConfig parses an image's config and checks that it fits its manifest and this platform.
func (s *Store) parseConfig(data []byte, m *v1.Manifest) (*v1.ConfigFile, error) {
	cfg := &v1.ConfigFile{}
	if err := json.Unmarshal(data, cfg); err != nil {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "parse image config: %w", err)
	}
	if len(cfg.RootFS.DiffIDs) != len(m.Layers) {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "image config lists %d layers, its manifest %d", len(cfg.RootFS.DiffIDs), len(m.Layers))
	}
	for _, id := range cfg.RootFS.DiffIDs {
		if err := checkDigest(id.String()); err != nil {
			return nil, err
		}
	}
	if cfg.OS == "" {
		cfg.OS = s.opt.Platform.OS
	}
	if cfg.Architecture == "" {
		cfg.Architecture = s.opt.Platform.Architecture
	}
	p := v1.Platform{OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant}
	if !runsOn(p, s.opt.Platform) {
		return nil, holdfast.Errorf(holdfast.ErrUnsupported, "image is for %s, this node is %s", p, s.opt.Platform)
	}
	return cfg, nil
}

func layersOf(m *v1.Manifest) []Layer {
	layers := make([]Layer, len(m.Layers))
	for i, l := range m.Layers {
		layers[i] = Layer{Digest: l.Digest.String(), MediaType: string(l.MediaType), Size: l.Size}
	}
	return layers
}
