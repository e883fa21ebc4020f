package volume

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// BindSource checks the host path of a bind mount, and with create makes a directory of it where nothing is.
// ErrNotFound without create.
func BindSource(path string, create bool) error {
	if !filepath.IsAbs(path) {
		return holdfast.Errorf(holdfast.ErrInvalid, "bind source %q is not absolute", path)
	}
	_, err := os.Stat(path)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("find bind source: %w", err)
	case !create:
		return holdfast.Errorf(holdfast.ErrNotFound, "bind source %s does not exist on this node (create_host_path is off)", path)
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make bind source: %w", err)
	}
	return nil
}

// subpathsDir holds the mounts of Subpath.
const subpathsDir = ".subpaths"

// Subpath returns a path at which the file or directory sub of volume name is mounted for replica, until Release. Links
// in sub are followed inside the volume only, and what another replica does to the volume later does not change what
// is mounted. ErrNotFound when there is no such thing.
func (s *Store) Subpath(ctx context.Context, name, replica, sub string) (path string, err error) {
	if err := errors.Join(checkName("volume", name), checkName("replica", replica)); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	defer s.lock(name)()
	root, err := os.Open(s.data(name))
	if err != nil {
		return "", fmt.Errorf("open volume %s: %w", name, err)
	}
	defer root.Close()
	src, err := openInRoot(root, sub, unix.O_PATH)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return "", holdfast.Errorf(holdfast.ErrNotFound, "volume %s has no %s", name, sub)
	}
	if err != nil {
		return "", fmt.Errorf("open %s in volume %s: %w", sub, name, err)
	}
	defer src.Close()
	path, err = s.mountSubpath(src, filepath.Join(s.dir, subpathsDir, replica), name+"\x00"+sub)
	if err != nil {
		return "", fmt.Errorf("mount %s of volume %s: %w", sub, name, err)
	}
	return path, nil
}

func (s *Store) mountSubpath(src *os.File, dir, id string) (string, error) {
	sum := sha256.Sum256([]byte(id))
	path := filepath.Join(dir, hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", err
	}
	if err := unmount(path); err != nil { // of an attempt before
		return "", err
	}
	st, err := src.Stat()
	if err != nil {
		return "", err
	}
	if st.IsDir() {
		err = os.MkdirAll(path, 0o700)
	} else {
		err = os.WriteFile(path, nil, 0o600)
	}
	if err != nil {
		return "", err
	}
	return path, unix.Mount(fmt.Sprintf("/proc/self/fd/%d", src.Fd()), path, "", unix.MS_BIND|unix.MS_REC, "")
}

// dropSubpaths unmounts what Subpath mounted for replica.
func (s *Store) dropSubpaths(replica string) error {
	dir := filepath.Join(s.dir, subpathsDir, replica)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		if err := os.Remove(path); err != nil { // never what is in it
			return err
		}
	}
	return os.Remove(dir)
}
