package image

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/holdfast/holdfast"
)

// Ref is a parsed image reference, with the defaults of the field filled in.
type Ref struct {
	Repo   string // with its registry: "docker.io/library/nginx"
	Tag    string // "latest" unless a tag or a digest is given
	Digest string // "sha256:…", or "" when not pinned; then a Tag says only how it was found
}

// ParseRef parses a reference as Compose files and command lines write it: "nginx", "ghcr.io/a/b:1",
// "nginx:1@sha256:…".
func ParseRef(text string) (Ref, error) {
	var ref Ref
	base, digest, pinned := strings.Cut(text, "@")
	if pinned {
		d, err := name.NewDigest(text)
		if err != nil {
			return Ref{}, holdfast.Errorf(holdfast.ErrInvalid, "parse image reference %q: %w", text, err)
		}
		ref.Repo, ref.Digest = d.Context().Name(), digest
		if !hasTag(base) {
			return ref.familiar(), nil
		}
	}
	tag, err := name.NewTag(base)
	if err != nil {
		return Ref{}, holdfast.Errorf(holdfast.ErrInvalid, "parse image reference %q: %w", text, err)
	}
	ref.Repo, ref.Tag = tag.Context().Name(), tag.TagStr()
	return ref.familiar(), nil
}

func hasTag(base string) bool {
	return strings.Contains(base[strings.LastIndexByte(base, '/')+1:], ":")
}

// familiar writes Docker's own registry as users do.
func (r Ref) familiar() Ref {
	if rest, ok := strings.CutPrefix(r.Repo, name.DefaultRegistry+"/"); ok {
		r.Repo = "docker.io/" + rest
	}
	return r
}

// String returns the reference in full.
func (r Ref) String() string {
	s := r.Name()
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// Name returns the reference without its digest.
func (r Ref) Name() string {
	if r.Tag == "" {
		return r.Repo
	}
	return r.Repo + ":" + r.Tag
}

// Pin returns the reference of exactly the content digest: "repo:tag@sha256:…".
func (r Ref) Pin(digest string) string {
	r.Digest = digest
	return r.String()
}

// Host returns the registry's host and port.
func (r Ref) Host() string {
	host, _, _ := strings.Cut(r.Repo, "/")
	return host
}

// Path returns the repository without its registry.
func (r Ref) Path() string {
	_, path, _ := strings.Cut(r.Repo, "/")
	return path
}
