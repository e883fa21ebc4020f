package cli

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/holdfast/holdfast"
)

// packTar writes source, and all that is in it, as a tar whose names start with name.
func packTar(w io.Writer, source, name string) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(source, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, p)
		if err != nil {
			return err
		}
		return packEntry(out, p, path.Join(name, filepath.ToSlash(rel)), d)
	})
	if err != nil {
		return fmt.Errorf("pack %s: %w", source, err)
	}
	return out.Close()
}

func packEntry(out *tar.Writer, file, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err // a socket: no tar can hold it
	}
	h.Name = name
	if info.IsDir() {
		h.Name += "/"
	}
	if err := out.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(out, f, h.Size)
	return err
}

// unpackTar unpacks r into dir, with rename, when not "", in place of the first part of each name. Nothing is written
// outside of dir, whatever the names and links in r say.
func unpackTar(r io.Reader, dir, rename string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return usage("copy: %s", err)
	}
	defer root.Close()
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return holdfast.Errorf(holdfast.ErrUnavailable, "read the replica's tar: %w", err)
		}
		name := localName(h.Name, rename)
		if err := unpackEntry(root, in, h, name, localName(h.Linkname, rename)); err != nil {
			return fmt.Errorf("unpack %s: %w", name, err)
		}
	}
}

// localName is where an entry goes: its clean name, the first part of which may be replaced.
func localName(name, rename string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if rename == "" {
		return name
	}
	_, rest, _ := strings.Cut(name, "/")
	return path.Join(rename, rest)
}

// unpackEntry unpacks one entry to name; target is where the entry that a hard link names was unpacked to.
func unpackEntry(root *os.Root, in io.Reader, h *tar.Header, name, target string) error {
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, mode|0o700)
	case tar.TypeSymlink:
		return replace(root, name, func() error { return root.Symlink(h.Linkname, name) })
	case tar.TypeLink:
		return replace(root, name, func() error { return root.Link(target, name) })
	case tar.TypeReg:
		return replace(root, name, func() error { return unpackFile(root, in, name, mode) })
	}
	return nil // devices, pipes and the like stay where they are
}

// replace makes a new entry in place of one that is there.
func replace(root *os.Root, name string, make func() error) error {
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return make()
}

func unpackFile(root *os.Root, in io.Reader, name string, mode fs.FileMode) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}
