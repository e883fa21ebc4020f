package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Fill writes a volume's first content into dir, which is empty, and gives dir itself the right owner and mode. When it
// fails nothing of what it wrote is kept.
type Fill func(ctx context.Context, dir string) error

// Filling writes into filling, inside the volume so that it works on any file system; the rename to filled says that
// all is there and on disk; then its entries move up. A crash before the rename leaves what recoverFill throws away,
// one after it leaves what recoverFill completes.
const (
	filling = ".holdfast-filling"
	filled  = ".holdfast-filled"
)

// fill fills volume name, which is locked, if it is empty and nobody uses it.
func (s *Store) fill(ctx context.Context, name string, fill Fill) error {
	users, err := s.users(name)
	if err != nil || len(users) > 0 {
		return err
	}
	data := s.data(name)
	if empty, err := isEmpty(data); err != nil || !empty {
		return err
	}
	tmp := filepath.Join(data, filling)
	err = func() error {
		if err := os.Mkdir(tmp, 0o755); err != nil {
			return err
		}
		if err := fill(ctx, tmp); err != nil {
			return err
		}
		if err := syncTree(tmp); err != nil {
			return err
		}
		return os.Rename(tmp, filepath.Join(data, filled))
	}()
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return recoverFill(data)
}

// recoverFill ends a fill that a crash interrupted, or that has just been written.
func recoverFill(data string) error {
	half := filepath.Join(data, filling)
	if _, err := os.Lstat(half); err == nil { // asked first, for volumes that are read-only
		if err := os.RemoveAll(half); err != nil {
			return err
		}
	}
	from := filepath.Join(data, filled)
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(data, e.Name())); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	if err := copyMeta(from, data, &st); err != nil {
		return err
	}
	if err := syncDir(data); err != nil {
		return err
	}
	return os.Remove(from)
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if _, err := f.Readdirnames(1); !errors.Is(err, io.EOF) {
		return false, err
	}
	return true, nil
}

// syncTree puts all of dir's file system on disk.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// FromDir fills a volume with what is at target in the root file system at root. When there is no such directory the
// volume stays empty. Links in target's path are followed as in a container: they cannot lead out of root.
func FromDir(root, target string) Fill {
	return func(ctx context.Context, dir string) error {
		f, err := os.Open(root)
		if err != nil {
			return err
		}
		defer f.Close()
		return copyFrom(ctx, f, target, dir)
	}
}

// FromImage fills a volume with what is at target in an image: an EROFS file, or lower directories, uppermost first,
// as container.Rootfs has them. The image is mounted where nobody sees it.
func FromImage(erofs string, dirs []string, target string) Fill {
	return func(ctx context.Context, dir string) error {
		if erofs == "" && len(dirs) == 1 {
			return FromDir(dirs[0], target)(ctx, dir)
		}
		root, err := mountImage(erofs, dirs)
		if err != nil {
			return fmt.Errorf("mount the image: %w", err)
		}
		defer root.Close() // unmounts
		return copyFrom(ctx, root, target, dir)
	}
}

// mountImage returns the root of a mount that nobody else sees and that goes with the file.
func mountImage(erofs string, dirs []string) (*os.File, error) {
	if erofs == "" {
		return mountDirs(dirs)
	}
	ctx, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open file system erofs: %w", err)
	}
	defer func() { _ = unix.Close(ctx) }()
	if err := unix.FsconfigSetString(ctx, "source", erofs); err != nil {
		return nil, fmt.Errorf("name %s: %w", erofs, err)
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, fmt.Errorf("read %s: %w", erofs, err)
	}
	mnt, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", erofs, err)
	}
	return os.NewFile(uintptr(mnt), erofs), nil
}

// mountDirs mounts an overlay the old way, as fsconfig(2) takes 256 bytes of paths only, and detaches it at once.
func mountDirs(dirs []string) (*os.File, error) {
	escaped := make([]string, len(dirs))
	for i, d := range dirs {
		escaped[i] = strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(d)
	}
	at, err := os.MkdirTemp("", "holdfast-image-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(at) }()
	flags := uintptr(unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC)
	if err := unix.Mount("overlay", at, "overlay", flags, "lowerdir="+strings.Join(escaped, ":")); err != nil {
		return nil, fmt.Errorf("mount the layers: %w", err)
	}
	root, err := os.Open(at)
	if err := errors.Join(err, unix.Unmount(at, unix.MNT_DETACH)); err != nil {
		return nil, err
	}
	return root, nil
}

// openInRoot opens path as a process with root as its root would.
func openInRoot(root *os.File, path string, flags uint64) (*os.File, error) {
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{
		Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func copyFrom(ctx context.Context, root *os.File, target, dir string) error {
	src, err := openInRoot(root, target, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer src.Close()
	return copyTree(ctx, fmt.Sprintf("/proc/self/fd/%d", src.Fd()), dir)
}
