package build

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// copied is one file or directory of the user's that goes into an image. What is exported identifies its content.
type copied struct {
	To   string
	Hash string // of all names, permissions and contents

	from string
	dir  bool
}

// epochFloor is the time that files which a build makes have at least, and package files at most: 2020.
const epochFloor = 1577836800

// hashCopies reads all that is to be copied. newest is the latest modification time of it.
func hashCopies(copies map[string]string) (out []copied, newest int64, err error) {
	newest = epochFloor
	for _, to := range slices.Sorted(maps.Keys(copies)) {
		from := copies[to]
		info, err := os.Stat(from)
		if err != nil {
			return nil, 0, holdfast.Errorf(holdfast.ErrInvalid, "copy to %s: %w", to, err)
		}
		h := sha256.New()
		latest, err := hashTree(h, from)
		if err != nil {
			return nil, 0, fmt.Errorf("copy to %s: %w", to, err)
		}
		newest = max(newest, latest)
		abs, err := filepath.Abs(from)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, copied{To: to, Hash: hex.EncodeToString(h.Sum(nil)), from: abs, dir: info.IsDir()})
	}
	return out, newest, nil
}

func hashTree(h io.Writer, root string) (newest int64, err error) {
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path) // links are copied as what they lead to
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %v\n", rel, info.Mode())
		if !info.Mode().IsRegular() {
			return nil
		}
		newest = max(newest, info.ModTime().Unix())
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := io.Copy(h, f)
		fmt.Fprintf(h, "\n%d\n", n)
		return err
	})
	return newest, err
}

// writeCopies writes a layer of what is to be copied, owned by root. Links are copied as what they lead to.
func writeCopies(w io.Writer, copies []copied) error {
	tw := tar.NewWriter(w)
	for _, c := range copies {
		if err := writeTree(tw, c); err != nil {
			return fmt.Errorf("copy to %s: %w", c.To, err)
		}
	}
	return tw.Close()
}

func writeTree(tw *tar.Writer, c copied) error {
	return filepath.WalkDir(c.from, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(c.from, path)
		if err != nil {
			return err
		}
		h := &tar.Header{
			Name: strings.TrimPrefix(filepath.Join(c.To, rel), "/"), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(),
		}
		switch {
		case info.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
			return tw.WriteHeader(h)
		case !info.Mode().IsRegular():
			return holdfast.Errorf(holdfast.ErrInvalid, "%s is neither a file nor a directory", path)
		}
		h.Size = info.Size()
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(tw, f)
		return err
	})
}
