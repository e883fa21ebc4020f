package erofs

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/image/rootfs"
)

// Probe reports whether this kernel mounts an EROFS file of a directory without a loop device (Linux 6.12 and later),
// by doing so. Nothing stays mounted. The error is of kind ErrUnsupported when it does not.
func Probe(dir string) error {
	f, err := os.CreateTemp(dir, "probe-*.erofs")
	if err != nil {
		return fmt.Errorf("probe erofs: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	w, err := New(f)
	if err != nil {
		return err
	}
	if err := w.Finish(rootfs.New(w).Root()); err != nil {
		return err
	}
	fd, err := open(f.Name())
	if err != nil {
		return holdfast.Errorf(holdfast.ErrUnsupported, "mount an erofs file: %w", err)
	}
	return unix.Close(fd)
}

// open mounts the image at path, attached nowhere, and returns the mount's descriptor.
func open(path string) (int, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return 0, err
	}
	fs, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", path); err != nil {
		return 0, fmt.Errorf("fsconfig source: %w", err)
	}
	if err := unix.FsconfigSetFlag(fs, "ro"); err != nil {
		return 0, fmt.Errorf("fsconfig ro: %w", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return 0, fmt.Errorf("fsconfig create: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return 0, fmt.Errorf("fsmount: %w", err)
	}
	return fd, nil
}
