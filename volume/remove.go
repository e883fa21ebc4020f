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
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

func anonymousName(replica, target string) string {
	sum := sha256.Sum256([]byte(target))
	return replica + "." + hex.EncodeToString(sum[:6])
}

// Release ends a replica's use of all its volumes and removes its anonymous ones. Volumes with driver options that
// nobody uses any more are unmounted. Releasing what is not there is no error.
func (s *Store) Release(ctx context.Context, replica string) error {
	if err := checkName("replica", replica); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	all, err := s.List()
	if err != nil {
		return fmt.Errorf("release volumes of replica %s: %w", replica, err)
	}
	errs := []error{s.dropSubpaths(replica)}
	for _, info := range all {
		if slices.Contains(info.Users, replica) || info.Replica == replica {
			errs = append(errs, s.releaseOne(info.Name, replica))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("release volumes of replica %s: %w", replica, err)
	}
	return nil
}

func (s *Store) releaseOne(name, replica string) error {
	defer s.lock(name)()
	err := os.Remove(filepath.Join(s.root(name), usersDir, replica))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	info, err := s.read(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(info.Users) > 0:
		return nil
	case err != nil:
		return err
	case info.Replica != "":
		return s.removeLocked(name)
	case len(info.DriverOpts) > 0:
		return unmount(s.data(name))
	}
	return nil
}

// Adopt tells which replicas live, after an agent's restart: all others are released.
func (s *Store) Adopt(ctx context.Context, live []string) error {
	all, err := s.List()
	if err != nil {
		return fmt.Errorf("adopt volumes: %w", err)
	}
	dead := map[string]bool{}
	for _, info := range all {
		for _, user := range append(info.Users, info.Replica) {
			if user != "" && !slices.Contains(live, user) {
				dead[user] = true
			}
		}
	}
	var errs []error
	for replica := range dead {
		errs = append(errs, s.Release(ctx, replica))
	}
	return errors.Join(errs...)
}

// Remove removes a volume and all that is in it. ErrNotFound when it is not there, ErrConflict while a replica uses it.
// What a volume with driver options has mounted is unmounted and stays as it is.
func (s *Store) Remove(ctx context.Context, name string) error {
	if err := checkName("volume", name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	defer s.lock(name)()
	info, err := s.Inspect(name)
	if err != nil {
		return err
	}
	if len(info.Users) > 0 {
		return holdfast.Errorf(holdfast.ErrConflict, "volume %s is in use by %s", name, strings.Join(info.Users, ", "))
	}
	if err := s.removeLocked(name); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	return nil
}

func (s *Store) removeLocked(name string) error {
	if err := unmount(s.data(name)); err != nil {
		return err
	}
	gone, err := os.MkdirTemp(s.dir, gonePrefix)
	if err != nil {
		return err
	}
	if err := os.Rename(s.root(name), filepath.Join(gone, name)); err != nil {
		return errors.Join(err, os.Remove(gone))
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	return removeTree(gone)
}

// Prune removes the volumes that nobody uses and that keep does not want kept, and returns them with their sizes. It
// goes on after an error and returns all.
func (s *Store) Prune(ctx context.Context, keep func(Info) bool) (removed []Info, bytes int64, err error) {
	all, err := s.List()
	if err != nil {
		return nil, 0, fmt.Errorf("prune volumes: %w", err)
	}
	var errs []error
	for _, info := range all {
		if len(info.Users) > 0 || keep(info) {
			continue
		}
		size, err := s.Size(ctx, info.Name)
		if err == nil {
			err = s.Remove(ctx, info.Name)
		}
		switch {
		case err == nil:
			removed, bytes = append(removed, info), bytes+size
		case !errors.Is(err, holdfast.ErrConflict) && !errors.Is(err, holdfast.ErrNotFound): // used, or gone, by now
			errs = append(errs, err)
		}
	}
	return removed, bytes, errors.Join(errs...)
}

// Size returns the bytes that a volume takes on disk. Files with several names count once; what is mounted in it from
// elsewhere does not count.
func (s *Store) Size(ctx context.Context, name string) (int64, error) {
	if _, err := s.Inspect(name); err != nil {
		return 0, err
	}
	var root unix.Stat_t
	if err := unix.Lstat(s.root(name), &root); err != nil {
		return 0, fmt.Errorf("size volume %s: %w", name, err)
	}
	var total int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(s.data(name), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed while we look
		}
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case st.Dev != root.Dev && d.IsDir():
			return fs.SkipDir
		case st.Dev != root.Dev || st.Nlink > 1 && !d.IsDir() && seen[st.Ino]:
			return nil
		}
		seen[st.Ino] = true
		total += st.Blocks * 512
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("size volume %s: %w", name, err)
	}
	return total, nil
}

// removeTree removes path and all below it, unless anything is mounted there: that is not ours to empty.
func removeTree(path string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(path))
	if err != nil {
		return fmt.Errorf("look for mounts: %w", err)
	}
	if len(mounts) > 0 {
		return holdfast.Errorf(holdfast.ErrConflict, "remove %s: something is mounted on %s", path, mounts[0].Mountpoint)
	}
	return os.RemoveAll(path)
}

func writeSync(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
