package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/image"
)

// tarball takes an archive as it is.
func (b *builder) tarball(repo, path string) (Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return Result{}, holdfast.Errorf(holdfast.ErrInvalid, "open image archive: %w", err)
	}
	defer f.Close()
	if _, err := image.Detect(f); err != nil {
		return Result{}, fmt.Errorf("image archive %s: %w", path, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Result{}, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Result{}, fmt.Errorf("read image archive: %w", err)
	}
	res := Result{Ref: repo + ":" + hex.EncodeToString(h.Sum(nil))[:32], Path: path}
	if b.has(res.Ref) {
		res.Path = ""
	}
	return res, nil
}
