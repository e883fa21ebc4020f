package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
)

const indexFile = "index.json"

// index is all that a store knows beside its content. It is small, and replaced on disk as a whole.
type index struct {
	Images map[string]record `json:"images"` // by the digest that references resolve to
	Refs   map[string]target `json:"refs"`   // by Ref.String
}

// target is what a reference resolves to.
type target struct {
	Digest string    `json:"digest"`
	Pulled time.Time `json:"pulled"`
}

// record is one image; its content is all there.
type record struct {
	Manifest     string  `json:"manifest"` // the image's digest itself, or of the manifest that its index names for us
	Config       string  `json:"config"`
	Layers       []Layer `json:"layers"`
	Rootfs       string  `json:"rootfs"`
	RootfsBytes  int64   `json:"rootfsBytes"`
	ContentBytes int64   `json:"contentBytes"`
}

// content returns the digests of all that the image digest is made of.
func (r record) content(digest string) []string {
	all := []string{digest, r.Manifest, r.Config}
	for _, l := range r.Layers {
		all = append(all, l.Digest)
	}
	return all
}

func readIndex(path string) (index, error) {
	idx := index{Images: map[string]record{}, Refs: map[string]target{}}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return idx, nil
	}
	if err != nil {
		return idx, fmt.Errorf("read index: %w", err)
	}
	if err := json.Unmarshal(data, &idx); err != nil {
		return idx, fmt.Errorf("read index: %w", err)
	}
	return idx, nil
}

// put files rec as the image digest under ref. A pinned reference is filed only when nothing else of its repository
// names the image; it does not move the tag that it may carry.
func (idx *index) put(ref Ref, digest string, rec record, now time.Time) {
	idx.Images[digest] = rec
	if ref.Repo == "" {
		return
	}
	if ref.Digest == "" {
		idx.Refs[ref.String()] = target{digest, now}
		return
	}
	for name, to := range idx.Refs {
		if to.Digest == digest && strings.HasPrefix(name, ref.Repo+":") {
			return
		}
	}
	idx.Refs[ref.String()] = target{digest, now}
}

func (idx index) clone() index {
	return index{Images: maps.Clone(idx.Images), Refs: maps.Clone(idx.Refs)}
}

// change applies fn to the index and makes the result durable. After an error nothing has changed.
func (s *Store) change(fn func(*index) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changeLocked(fn)
}

func (s *Store) changeLocked(fn func(*index) error) error {
	next := s.idx.clone()
	if err := fn(&next); err != nil {
		return err
	}
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if err := writeFileDurably(s.path(tmpDir), s.path(indexFile), data); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	s.idx = next
	return nil
}

// find returns the image that ref names: its digest when pinned, whatever the tag resolves to now otherwise.
func (s *Store) find(ref Ref) (string, record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	digest := ref.Digest
	if digest == "" {
		digest = s.idx.Refs[ref.String()].Digest
	}
	r, ok := s.idx.Images[digest]
	if !ok {
		return "", record{}, holdfast.Errorf(holdfast.ErrNotFound, "image %s is not in the store", ref)
	}
	return digest, r, nil
}

// writeFileDurably replaces the file at path by way of one in dir tmp: afterwards it has either its old content or all
// of data.
func writeFileDurably(tmp, path string, data []byte) (err error) {
	f, err := os.CreateTemp(tmp, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
