//go:build linux

package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// mountRootfs makes the container's overlay at its directory rootfs.
func (r *Runtime) mountRootfs(b *box) error {
	for _, name := range []string{"rootfs", "image", "upper", "work"} {
		if err := os.Mkdir(b.path(r, name), 0o755); err != nil {
			return fmt.Errorf("make root file system: %w", err)
		}
	}
	layers, err := r.layers(b)
	if err != nil {
		return err
	}
	info, err := os.Stat(layers[0])
	if err != nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "look at image: %w", err)
	}
	// The overlay's root has the mode of the upper layer's.
	if err := os.Chmod(b.path(r, "upper"), info.Mode()); err != nil {
		return fmt.Errorf("make root file system: %w", err)
	}
	return overlay(layers, b.path(r, "upper"), b.path(r, "work"), b.path(r, "rootfs"))
}

// layers returns the image's directories, uppermost first.
func (r *Runtime) layers(b *box) ([]string, error) {
	image := b.Spec.Rootfs
	switch {
	case image.EROFS != "" && len(image.Dirs) > 0:
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "rootfs: an image file or directories, not both")
	case image.EROFS != "":
		point := b.path(r, "image")
		err := unix.Mount(image.EROFS, point, "erofs", unix.MS_RDONLY, "")
		if errors.Is(err, unix.ENOTBLK) {
			return nil, holdfast.Errorf(holdfast.ErrUnsupported, "mount image %s: this kernel mounts image files from devices only", image.EROFS)
		}
		if err != nil {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "mount image %s: %w", image.EROFS, err)
		}
		return []string{point}, nil
	case len(image.Dirs) == 0:
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "rootfs: no image file and no directory")
	}
	return image.Dirs, nil
}

// overlay mounts by the new mount calls: each option stands alone, so that no path can smuggle in another and their
// number is not limited by a page.
func overlay(layers []string, upper, work, target string) error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open overlay: %w", err)
	}
	defer unix.Close(fd)
	options := [][2]string{{"source", "overlay"}, {"upperdir", upper}, {"workdir", work}}
	if all := joinLayers(layers); len(all) <= 255 { // of one option
		options = append(options, [2]string{"lowerdir", all})
	} else {
		for _, l := range layers { // Linux 6.5
			options = append(options, [2]string{"lowerdir+", l})
		}
	}
	for _, o := range options {
		if err := unix.FsconfigSetString(fd, o[0], o[1]); err != nil {
			return holdfast.Errorf(holdfast.ErrInvalid, "overlay %s=%s: %w", o[0], o[1], err)
		}
	}
	return placeOverlay(fd, target)
}

func placeOverlay(fd int, target string) error {
	if err := unix.FsconfigSetFlag(fd, "volatile"); err != nil {
		return fmt.Errorf("overlay volatile: %w", err)
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return fmt.Errorf("make overlay: %w", err)
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make overlay: %w", err)
	}
	defer unix.Close(mount)
	if err := unix.MoveMount(mount, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	return nil
}

func joinLayers(layers []string) string {
	escaped := make([]string, len(layers))
	for i, l := range layers {
		escaped[i] = strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(l)
	}
	return strings.Join(escaped, ":")
}

// unmountRootfs undoes mountRootfs, however far that came.
func (r *Runtime) unmountRootfs(b *box) error {
	for _, name := range []string{"rootfs", "image"} {
		if err := ignore(unix.Unmount(b.path(r, name), unix.MNT_DETACH), unix.EINVAL, unix.ENOENT); err != nil {
			return fmt.Errorf("unmount %s: %w", name, err)
		}
	}
	return nil
}

// programIn checks that the file, if the image has it and no mount covers it, is one that the kernel can run: the OCI
// programs learn that only after they reported success.
func (r *Runtime) programIn(b *box, path string) error {
	root, err := os.OpenRoot(b.path(r, "rootfs"))
	if err != nil {
		return fmt.Errorf("open root file system: %w", err)
	}
	defer root.Close()
	f, err := root.OpenFile(strings.TrimPrefix(path, "/"), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil // the program says what is wrong, or a mount brings it
	}
	defer f.Close()
	head := make([]byte, 4)
	n, err := f.Read(head)
	if err != nil && !errors.Is(err, fs.ErrInvalid) {
		return nil
	}
	if text := string(head[:n]); text != "\x7fELF" && !strings.HasPrefix(text, "#!") {
		return holdfast.Errorf(holdfast.ErrInvalid, "run %s: exec format error", path)
	}
	return nil
}
