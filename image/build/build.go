// Package build makes images that no registry has: from Debian packages, from a Go package, with whichever builder is
// installed, or from a tar. It runs in the CLI's process, as the user, where sources and credentials are; the result is
// a file that the agent imports.
//
// Each image's tag is made of its inputs, so that equal inputs are built once.
//
// May import image, the root package and libraries.
package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/image"
)

// format is part of every key: raise it when the same inputs make another image.
const format = "1"

// Options of a build.
type Options struct {
	// CacheDir keeps built images and the builders' own caches; it is made if need be.
	CacheDir string
	// Progress may be nil. It is called by one goroutine at a time.
	Progress image.ProgressFunc
	// Has reports whether the agent has the image; nil is never.
	Has func(ref string) bool
	// Rebuild builds even what the cache or the agent has.
	Rebuild bool
}

// Result is a built image.
type Result struct {
	Ref  string // with the tag made of its inputs
	Path string // OCI layout or docker tar to import as Ref; "" when the agent has it already
}

// Build makes the image of src. ErrInvalid when the source is wrong, with the builder's own words; ErrUnsupported when
// a program that it needs is not installed, with how to install it.
func Build(ctx context.Context, src holdfast.ImageSource, opt Options) (Result, error) {
	b := &builder{Options: opt}
	if err := os.MkdirAll(opt.CacheDir, 0o700); err != nil {
		return Result{}, fmt.Errorf("build %s: %w", src.Ref, err)
	}
	err := b.expire()
	var res Result
	if err == nil {
		res, err = b.build(ctx, src)
	}
	if err != nil {
		return Result{}, fmt.Errorf("build %s: %w", src.Ref, err)
	}
	return res, nil
}

type builder struct{ Options }

func (b *builder) build(ctx context.Context, src holdfast.ImageSource) (Result, error) {
	if src.Ref == "" {
		return Result{}, holdfast.Errorf(holdfast.ErrInvalid, "the image has no name")
	}
	switch {
	case src.Debian != nil:
		return b.debian(ctx, src.Ref, *src.Debian)
	case src.Go != nil:
		return b.golang(ctx, src.Ref, *src.Go)
	case src.Build != nil:
		return b.external(ctx, src.Ref, *src.Build)
	case src.Tar != "":
		return b.tarball(src.Ref, src.Tar)
	}
	return Result{}, holdfast.Errorf(holdfast.ErrInvalid, "the image has no source")
}

func (b *builder) say(text string) {
	if b.Progress != nil {
		b.Progress(image.Progress{Step: image.Building, Text: text})
	}
}

func (b *builder) has(ref string) bool { return !b.Rebuild && b.Has != nil && b.Has(ref) }

// key returns a tag made of inputs, which must marshal the same way each time.
func key(inputs ...any) (string, error) {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, in := range append([]any{format}, inputs...) {
		if err := enc.Encode(in); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// cached returns the image with that tag, made by fill unless the agent or the cache has it. fill writes the image to
// the path that it is given; two processes that want the same image make it once.
func (b *builder) cached(repo, tag string, fill func(path string) error) (Result, error) {
	res := Result{Ref: repo + ":" + tag}
	if b.has(res.Ref) {
		return res, nil
	}
	res.Path = filepath.Join(b.CacheDir, tag+".tar")
	unlock, err := lockFile(filepath.Join(b.CacheDir, tag+".lock"))
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	if _, err := os.Stat(res.Path); err == nil && !b.Rebuild {
		return res, touch(res.Path)
	}
	tmp := filepath.Join(b.CacheDir, tag+".tmp")
	if err := fill(tmp); err != nil {
		return Result{}, errors.Join(err, removeIfThere(tmp))
	}
	return res, os.Rename(tmp, res.Path)
}

// unusedFor is how long an image that no build asks for stays in the cache.
const unusedFor = 30 * 24 * time.Hour

func touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

// expire removes images from the cache that no build has asked for in a long time.
func (b *builder) expire() error {
	images, err := filepath.Glob(filepath.Join(b.CacheDir, "*.tar"))
	if err != nil {
		return err
	}
	for _, path := range images {
		info, err := os.Stat(path)
		if err == nil && time.Since(info.ModTime()) > unusedFor {
			err = removeIfThere(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
