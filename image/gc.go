package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Pruned says what Prune removed.
type Pruned struct {
	Images []string `json:"images"` // references, and digests of images that had none; sorted
	Bytes  int64    `json:"bytes"`  // freed on disk
}

// Prune removes each image for whose reference and digest keep is false, and frees all content that no image is left
// to need. An image without a name is asked for with ref "". What is being pulled, pushed, imported or held stays, and
// so does content that no image names for the time Options.Grace, since a push names it last.
func (s *Store) Prune(ctx context.Context, keep func(ref, digest string) bool) (Pruned, error) {
	var out Pruned
	err := s.change(func(idx *index) error {
		out.Images = drop(idx, s.leases, keep)
		return ctx.Err()
	})
	if err != nil {
		return Pruned{}, fmt.Errorf("prune images: %w", err)
	}
	out.Bytes, err = s.sweep()
	if err != nil {
		return out, fmt.Errorf("prune images: %w", err)
	}
	return out, nil
}

// drop takes out of idx what keep and the leases do not protect, and returns it.
func drop(idx *index, leases map[string]int, keep func(ref, digest string) bool) []string {
	var gone []string
	named := map[string]bool{}
	for ref, to := range idx.Refs {
		named[to.Digest] = true
		if leases[to.Digest] == 0 && !keep(ref, to.Digest) {
			delete(idx.Refs, ref)
			gone = append(gone, ref)
		}
	}
	for digest := range idx.Images {
		if leases[digest] == 0 && len(refsTo(*idx, digest)) == 0 && !keep("", digest) {
			delete(idx.Images, digest)
			if !named[digest] {
				gone = append(gone, digest)
			}
		}
	}
	slices.Sort(gone)
	return gone
}

// sweep frees what no image needs: it is moved aside while nothing can start to use it, and then deleted.
func (s *Store) sweep() (int64, error) {
	trash, err := os.MkdirTemp(s.path(tmpDir), "trash-*")
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	err = s.moveUnneededLocked(trash)
	s.mu.Unlock()
	freed, sizeErr := treeBytes(trash)
	return freed, errors.Join(err, sizeErr, os.RemoveAll(trash))
}

func (s *Store) moveUnneededLocked(trash string) error {
	needed := s.neededLocked()
	return errors.Join(
		s.moveAside(blobDir, trash, s.opt.Grace, func(name string) bool { return needed["sha256:"+name] }),
		s.moveAside(partialDir, trash, 24*s.opt.Grace, func(name string) bool { return needed["sha256:"+name] }),
		s.moveAside(rootfsDir, trash, 0, func(name string) bool { return needed[strings.TrimSuffix(name, ".size")] }),
	)
}

// neededLocked returns the digests and root file systems that some image needs or somebody holds.
func (s *Store) neededLocked() map[string]bool {
	needed := map[string]bool{}
	for digest, rec := range s.idx.Images {
		for _, d := range rec.content(digest) {
			needed[d] = true
		}
		needed[rec.Rootfs] = true
	}
	for name := range s.leases {
		needed[name] = true
	}
	return needed
}

// moveAside renames into trash what sub has that is older than grace and not needed.
func (s *Store) moveAside(sub, trash string, grace time.Duration, needed func(name string) bool) error {
	entries, err := os.ReadDir(s.path(sub))
	if err != nil {
		return err
	}
	limit := s.opt.Now().Add(-grace)
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if needed(e.Name()) || grace > 0 && info.ModTime().After(limit) {
			continue
		}
		to := filepath.Join(trash, filepath.Base(sub)+"-"+e.Name())
		if err := os.Rename(s.path(sub, e.Name()), to); err != nil {
			return err
		}
	}
	return nil
}

// forget frees those of digests that no image needs and nobody holds, at once: what a failed import brought.
func (s *Store) forget(digests []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	needed := s.neededLocked()
	var errs []error
	for _, d := range digests {
		if needed[d] {
			continue
		}
		if err := os.Remove(s.blobPath(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func treeBytes(dir string) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += allocated(info)
		return nil
	})
	return total, err
}
