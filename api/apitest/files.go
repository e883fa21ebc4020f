package apitest

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast/holdfast"
)

// Files is the file system of all replicas: the directory Root.
type Files struct{ Root string }

// CopyFrom implements api.Copier.
func (f *Files) CopyFrom(_ context.Context, _, path string, w io.Writer) error {
	base := filepath.Join(f.Root, path)
	if _, err := os.Lstat(base); errors.Is(err, fs.ErrNotExist) {
		return holdfast.Errorf(holdfast.ErrNotFound, "no file %s", path)
	}
	out := tar.NewWriter(w)
	err := filepath.Walk(base, func(p string, info fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(filepath.Dir(base), p)
		if err != nil {
			return err
		}
		return addFile(out, p, rel, info)
	})
	return errors.Join(err, out.Close())
}

func addFile(out *tar.Writer, path, name string, info fs.FileInfo) error {
	h, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	h.Name = name
	if err := out.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

// CopyTo implements api.Copier.
func (f *Files) CopyTo(_ context.Context, _, dir string, r io.Reader) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return holdfast.Errorf(holdfast.ErrInvalid, "read tar: %w", err)
		}
		target := filepath.Join(f.Root, dir, filepath.Join("/", h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(target, 0o755); err != nil {
				return err
			}
			continue
		}
		data, err := io.ReadAll(in)
		if err != nil {
			return holdfast.Errorf(holdfast.ErrInvalid, "read tar: %w", err)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, data, fs.FileMode(h.Mode).Perm()); err != nil {
			return err
		}
	}
}
