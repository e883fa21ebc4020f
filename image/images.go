package image

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sort"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/holdfast/holdfast"
)

// Get returns the image that ref names, from the store alone. ErrNotFound when it is not there.
func (s *Store) Get(ctx context.Context, ref string) (Image, error) {
	r, err := ParseRef(ref)
	if err != nil {
		return Image{}, err
	}
	digest, rec, err := s.find(r)
	if err != nil {
		return Image{}, err
	}
	defer s.hold(append(rec.content(digest), rec.Rootfs)...)()
	return s.describe(ctx, r, digest, rec)
}

// describe makes the Image of a record, whose content the caller holds. A root file system that is missing, because
// the kernel now takes another form, is made again.
func (s *Store) describe(ctx context.Context, ref Ref, digest string, rec record) (Image, error) {
	var cfg v1.ConfigFile
	if err := s.decodeBlob(rec.Config, &cfg); err != nil {
		return Image{}, err
	}
	rootfs := s.rootfsName(cfg.RootFS.DiffIDs)
	if _, err := os.Lstat(s.path(rootfsDir, rootfs)); err != nil || rootfs != rec.Rootfs {
		if rec, err = s.unpackAgain(ctx, digest, rec, cfg.RootFS.DiffIDs); err != nil {
			return Image{}, fmt.Errorf("image %s: %w", ref, err)
		}
	}
	img := Image{
		Ref: ref.String(), Digest: digest, Manifest: rec.Manifest, Config: cfg, Layers: rec.Layers,
		Size: rec.ContentBytes + rec.RootfsBytes, Created: cfg.Created.Time, Pulled: s.pulled(ref),
	}
	if s.plain {
		img.Dirs = []string{s.path(rootfsDir, rec.Rootfs)}
	} else {
		img.EROFS = s.path(rootfsDir, rec.Rootfs)
	}
	return img, nil
}

func (s *Store) unpackAgain(ctx context.Context, digest string, rec record, diffIDs []v1.Hash) (record, error) {
	release := s.hold(s.rootfsName(diffIDs))
	defer release()
	u := unpacking{layers: rec.Layers, diffIDs: diffIDs, ready: allReady}
	name, size, err := s.unpack(ctx, u)
	if err != nil {
		return rec, s.explainFull(err)
	}
	rec.Rootfs, rec.RootfsBytes = name, size
	return rec, s.change(func(idx *index) error {
		if _, ok := idx.Images[digest]; ok {
			idx.Images[digest] = rec
		}
		return nil
	})
}

// List returns all images: one for each reference, and one without Ref for each that has lost its names. Sorted by
// Ref, then Digest.
func (s *Store) List(ctx context.Context) ([]Image, error) {
	s.mu.Lock()
	idx := s.idx.clone()
	s.mu.Unlock()
	var images []Image
	named := map[string]bool{}
	for ref, to := range idx.Refs {
		named[to.Digest] = true
		img, err := s.list(ref, to.Digest, idx.Images[to.Digest])
		if err != nil {
			return nil, err
		}
		img.Pulled = to.Pulled
		images = append(images, img)
	}
	for digest, rec := range idx.Images {
		if named[digest] {
			continue
		}
		img, err := s.list("", digest, rec)
		if err != nil {
			return nil, err
		}
		images = append(images, img)
	}
	sort.Slice(images, func(i, j int) bool {
		return images[i].Ref < images[j].Ref || images[i].Ref == images[j].Ref && images[i].Digest < images[j].Digest
	})
	return images, ctx.Err()
}

func (s *Store) list(ref, digest string, rec record) (Image, error) {
	img := Image{
		Ref: ref, Digest: digest, Manifest: rec.Manifest, Layers: rec.Layers,
		Size: rec.ContentBytes + rec.RootfsBytes,
	}
	if s.plain {
		img.Dirs = []string{s.path(rootfsDir, rec.Rootfs)}
	} else {
		img.EROFS = s.path(rootfsDir, rec.Rootfs)
	}
	err := s.decodeBlob(rec.Config, &img.Config)
	img.Created = img.Config.Created.Time
	if holdfast.KindOf(err) == holdfast.ErrNotFound { // removed since the index was read
		err = nil
	}
	return img, err
}

// Tag gives the image that ref names another name as well. What the name stood for before loses it.
func (s *Store) Tag(_ context.Context, ref, newRef string) error {
	from, err := ParseRef(ref)
	if err != nil {
		return err
	}
	to, err := ParseRef(newRef)
	if err != nil {
		return err
	}
	if to.Digest != "" {
		return holdfast.Errorf(holdfast.ErrInvalid, "tag %s: a digest cannot be given to an image", newRef)
	}
	digest, _, err := s.find(from)
	if err != nil {
		return err
	}
	return s.change(func(idx *index) error {
		if _, ok := idx.Images[digest]; !ok {
			return holdfast.Errorf(holdfast.ErrNotFound, "image %s is not in the store", from)
		}
		idx.Refs[to.String()] = target{Digest: digest, Pulled: s.opt.Now()}
		return nil
	})
}

// Remove takes the name ref from its image, or, for a pinned ref, the image with all its names. The space is freed by
// the next Prune. ErrNotFound when there is no such image, ErrConflict when it is being used.
func (s *Store) Remove(_ context.Context, ref string) error {
	r, err := ParseRef(ref)
	if err != nil {
		return err
	}
	digest, _, err := s.find(r)
	if err != nil {
		return err
	}
	return s.change(func(idx *index) error {
		if r.Digest == "" {
			delete(idx.Refs, r.String())
			return nil
		}
		if s.leases[digest] > 0 {
			return holdfast.Errorf(holdfast.ErrConflict, "remove image %s: it is being used", r)
		}
		for _, name := range refsTo(*idx, digest) {
			delete(idx.Refs, name)
		}
		delete(idx.Images, digest)
		return nil
	})
}

// refsTo returns the names of the image digest, sorted.
func refsTo(idx index, digest string) []string {
	var names []string
	for name, to := range idx.Refs {
		if to.Digest == digest {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *Store) pulled(ref Ref) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idx.Refs[ref.String()].Pulled
}

// add files an image whose content is all in the store, and returns it. The caller holds the content and the root file
// system.
func (s *Store) add(ctx context.Context, ref Ref, digest string, rec record) (Image, error) {
	size := int64(0)
	for _, d := range slices.Compact(slices.Sorted(slices.Values(rec.content(digest)))) {
		n, err := diskBytes(s.blobPath(d))
		if err != nil {
			return Image{}, fmt.Errorf("add image %s: %w", ref, err)
		}
		size += n
	}
	rec.ContentBytes = size
	if err := s.syncBlobs(); err != nil {
		return Image{}, err
	}
	err := s.change(func(idx *index) error {
		idx.put(ref, digest, rec, s.opt.Now())
		return nil
	})
	if err != nil {
		return Image{}, err
	}
	return s.describe(ctx, ref, digest, rec)
}
