package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/holdfast/holdfast"
)

// maxManifest bounds manifests, indexes and configs, which are read into memory.
const maxManifest = 8 << 20

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func checkDigest(digest string) error {
	if !digestPattern.MatchString(digest) {
		return holdfast.Errorf(holdfast.ErrInvalid, "%.100q is not a sha256 digest", digest)
	}
	return nil
}

func (s *Store) blobPath(digest string) string {
	return s.path(blobDir, strings.TrimPrefix(digest, "sha256:"))
}

// hasBlob reports whether the store has the content digest, whole.
func (s *Store) hasBlob(digest string) bool {
	_, err := os.Stat(s.blobPath(digest))
	return err == nil
}

// openBlob opens the content digest. ErrNotFound when the store does not have it.
func (s *Store) openBlob(digest string) (*os.File, error) {
	f, err := os.Open(s.blobPath(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "content %s is not in the store", digest)
	}
	return f, err
}

// readBlob returns a manifest, index or config.
func (s *Store) readBlob(digest string) ([]byte, error) {
	f, err := s.openBlob(digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readSmall(f)
}

func readSmall(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err == nil && len(data) > maxManifest {
		err = holdfast.Errorf(holdfast.ErrInvalid, "more than %d bytes", maxManifest)
	}
	return data, err
}

// decodeBlob reads the JSON content digest into v.
func (s *Store) decodeBlob(digest string, v any) error {
	data, err := s.readBlob(digest)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "decode %s: %w", digest, err)
	}
	return nil
}

// tempFile makes a file that is gone after the next Open unless it was renamed.
func (s *Store) tempFile() (*os.File, error) { return os.CreateTemp(s.path(tmpDir), "*") }

func discard(f *os.File) {
	f.Close()
	os.Remove(f.Name())
}

// putBlob stores all of r and returns its digest and size. It is synced, but its name is only with syncBlobs.
func (s *Store) putBlob(ctx context.Context, r io.Reader) (digest string, size int64, err error) {
	f, err := s.tempFile()
	if err != nil {
		return "", 0, err
	}
	defer discard(f)
	h := sha256.New()
	size, err = io.Copy(io.MultiWriter(f, h), &ctxReader{ctx, r})
	if err != nil {
		return "", 0, err
	}
	digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return digest, size, s.adopt(f, digest)
}

// putBytes stores data, which the caller has checked.
func (s *Store) putBytes(ctx context.Context, data []byte) (digest string, err error) {
	digest, _, err = s.putBlob(ctx, bytes.NewReader(data))
	return digest, err
}

// adopt syncs f, whose content is digest, and gives it its place.
func (s *Store) adopt(f *os.File, digest string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.blobPath(digest))
}

// syncBlobs makes the names of all stored content durable.
func (s *Store) syncBlobs() error { return syncDir(s.path(blobDir)) }

// ctxReader stops reading when its context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// explainFull adds what to do to an error that a full disk caused.
func (s *Store) explainFull(err error) error {
	if err == nil || !isFull(err) {
		return err
	}
	return fmt.Errorf("%w (the disk of %s is full; `holdfast image prune` frees what no release needs)", err, s.dir)
}
