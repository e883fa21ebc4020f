package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/image/erofs"
	"github.com/holdfast/holdfast/image/plain"
	"github.com/holdfast/holdfast/image/rootfs"
)

// rootfsFormat is part of a root file system's name: raise it when what is made of the same layers changes.
const rootfsFormat = "1"

// Suffixes of the names of root file systems.
const (
	plainSuffix = ".dir"
	erofsSuffix = ".erofs"
)

// rootfsName names the root file system that is made of layers with these uncompressed digests.
func (s *Store) rootfsName(diffIDs []v1.Hash) string {
	h := sha256.New()
	fmt.Fprintln(h, rootfsFormat)
	for _, id := range diffIDs {
		fmt.Fprintln(h, id)
	}
	name := hex.EncodeToString(h.Sum(nil))
	if s.plain {
		return name + plainSuffix
	}
	return name + erofsSuffix
}

// writer is what both forms of a root file system share.
type writer interface {
	rootfs.Content
	Finish(root *rootfs.Node) error
}

// unpacking is one root file system in the making.
type unpacking struct {
	layers  []Layer
	diffIDs []v1.Hash
	// ready waits until layer i is in the store.
	ready  func(ctx context.Context, i int) error
	report *reporter
}

// allReady is the ready of layers that are all in the store.
func allReady(context.Context, int) error { return nil }

// unpack makes the root file system of u's layers, unless the store has it, and returns its name and size. The caller
// holds the name.
func (s *Store) unpack(ctx context.Context, u unpacking) (name string, size int64, err error) {
	name = s.rootfsName(u.diffIDs)
	unlock, err := s.locks.lock(ctx, name, nil)
	if err != nil {
		return "", 0, err
	}
	defer unlock()
	final := s.path(rootfsDir, name)
	if _, err := os.Lstat(final); err == nil {
		size, err := s.rootfsBytes(name)
		return name, size, err
	}
	if s.plain {
		size, err = s.unpackPlain(ctx, u, final)
	} else {
		size, err = s.unpackEROFS(ctx, u, final)
	}
	if err != nil {
		return "", 0, err
	}
	return name, size, syncDir(s.path(rootfsDir))
}

func (s *Store) unpackEROFS(ctx context.Context, u unpacking, final string) (int64, error) {
	f, err := s.tempFile()
	if err != nil {
		return 0, err
	}
	defer discard(f)
	w, err := erofs.New(f)
	if err != nil {
		return 0, err
	}
	if err := s.applyAll(ctx, u, w); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	if err := os.Rename(f.Name(), final); err != nil {
		return 0, err
	}
	return diskBytes(final)
}

func (s *Store) unpackPlain(ctx context.Context, u unpacking, final string) (int64, error) {
	dir, err := os.MkdirTemp(s.path(tmpDir), "*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	w, err := plain.New(dir)
	if err != nil {
		return 0, err
	}
	if err := s.applyAll(ctx, u, w); err != nil {
		return 0, err
	}
	// The size goes into the name's own file, written before the name is there.
	if err := writeFileDurably(s.path(tmpDir), final+".size", fmt.Append(nil, w.Bytes)); err != nil {
		return 0, err
	}
	return w.Bytes, os.Rename(w.Root(), final)
}

// rootfsBytes returns the size of a root file system that is there.
func (s *Store) rootfsBytes(name string) (int64, error) {
	if !s.plain {
		return diskBytes(s.path(rootfsDir, name))
	}
	data, err := os.ReadFile(s.path(rootfsDir, name+".size"))
	if err != nil {
		return 0, err
	}
	var size int64
	_, err = fmt.Sscan(string(data), &size)
	return size, err
}

func (s *Store) applyAll(ctx context.Context, u unpacking, w writer) error {
	tree := rootfs.New(w)
	for i, l := range u.layers {
		if err := u.ready(ctx, i); err != nil {
			return err
		}
		if err := s.apply(ctx, u, i, tree); err != nil {
			return fmt.Errorf("unpack layer %d of %d (%s): %w", i+1, len(u.layers), l.Digest, err)
		}
	}
	return w.Finish(tree.Root())
}

// apply lays layer i over the tree and checks that its uncompressed content is what the image's config says.
func (s *Store) apply(ctx context.Context, u unpacking, i int, tree *rootfs.Tree) error {
	f, err := s.openBlob(u.layers[i].Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	counted := u.report.reader(&ctxReader{ctx, f}, Progress{Step: Unpacking, Layer: u.layers[i].Digest, Total: u.layers[i].Size})
	zr, err := decompress(counted)
	if err != nil {
		return err
	}
	defer zr.Close()
	h := sha256.New()
	ahead := newReadAhead(io.TeeReader(zr, h))
	defer ahead.Close()
	if err := tree.Apply(ahead); err != nil {
		return blameLayer(err)
	}
	if _, err := io.Copy(io.Discard, ahead); err != nil {
		return blameLayer(err)
	}
	counted.done()
	if got := hex.EncodeToString(h.Sum(nil)); got != u.diffIDs[i].Hex {
		return holdfast.Errorf(holdfast.ErrInvalid, "uncompressed content is sha256:%s, the image's config says %s", got, u.diffIDs[i])
	}
	return nil
}

// blameLayer marks the errors of decompression, which have many types, as the input's fault.
func blameLayer(err error) error {
	var pathErr *os.PathError
	if holdfast.KindOf(err) != nil || isFull(err) || errors.As(err, &pathErr) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return holdfast.Errorf(holdfast.ErrInvalid, "%w", err)
}

// diskBytes returns the space that a file takes.
func diskBytes(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return allocated(info), nil
}
