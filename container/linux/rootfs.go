//go:build linux

package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// rootfs is a container's overlay while it is made.
type rootfs struct {
	image  *imageMount // nil when it consists of directories
	layers []int
	points []string // where id-mapped layers are attached meanwhile
}

// makeRootfs returns a detached overlay mount on the image whose writable layer is in dir. userNS is a descriptor of
// the container's user namespace; -1 when it has none.
func (r *Runtime) makeRootfs(spec container.Rootfs, dir string, userNS int) (_ int, image *imageMount, err error) {
	fs := &rootfs{}
	defer fs.close()
	if err := r.openLayers(fs, spec, userNS, dir); err != nil {
		return -1, nil, err
	}
	upper, work, err := openUpper(dir, fs.layers[0])
	if err != nil {
		r.dropImage(fs.image)
		return -1, nil, err
	}
	defer unix.Close(upper)
	defer unix.Close(work)
	fd, err := newOverlay(fs.layers, upper, work)
	if err != nil {
		r.dropImage(fs.image)
		return -1, nil, err
	}
	return fd, fs.image, nil
}

func (r *Runtime) dropImage(m *imageMount) {
	if m == nil {
		return
	}
	if err := r.images.drop(m); err != nil {
		r.cfg.Log.Warn("give up image mount", "err", err)
	}
}

func (r *Runtime) openLayers(fs *rootfs, spec container.Rootfs, userNS int, dir string) (err error) {
	defer func() {
		if err != nil {
			r.dropImage(fs.image)
		}
	}()
	var sources []int
	if spec.EROFS != "" {
		if len(spec.Dirs) > 0 {
			return holdfast.Errorf(holdfast.ErrInvalid, "rootfs: an image file or directories, not both")
		}
		if fs.image, err = r.images.use(spec.EROFS); err != nil {
			return err
		}
		sources = append(sources, fs.image.root)
	}
	for _, d := range spec.Dirs {
		fd, err := unix.Open(d, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return holdfast.Errorf(holdfast.ErrInvalid, "open layer %s: %w", d, err)
		}
		fs.layers = append(fs.layers, fd)
		sources = append(sources, fd)
	}
	if len(sources) == 0 {
		return holdfast.Errorf(holdfast.ErrInvalid, "rootfs: no image file and no directory")
	}
	if userNS < 0 {
		return fs.plainImage()
	}
	mapped := fs.layers[:0:0]
	for i, source := range sources {
		fd, err := fs.mapLayer(source, userNS, fmt.Sprintf("%s/lower%d", dir, i))
		if err != nil {
			closeAll(mapped)
			return fmt.Errorf("map ids of layer: %w", err)
		}
		mapped = append(mapped, fd)
	}
	closeAll(fs.layers)
	fs.layers = mapped
	return nil
}

// plainImage adds a descriptor of the image file's mount as the only layer.
func (fs *rootfs) plainImage() error {
	if fs.image == nil {
		return nil
	}
	fd, err := unix.FcntlInt(uintptr(fs.image.root), unix.F_DUPFD_CLOEXEC, 0)
	fs.layers = append(fs.layers, fd)
	return err
}

// mapLayer returns a copy of the mount that source is on, with the ids of userNS.
func (fs *rootfs) mapLayer(source, userNS int, point string) (int, error) {
	fd, err := cloneTree(source, "", false)
	if err != nil {
		return -1, fmt.Errorf("clone mount: %w", err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userNS)}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("set id map: %w", err)
	}
	if detachedLayers() {
		return fd, nil
	}
	defer unix.Close(fd)
	if err := os.MkdirAll(point, 0o700); err != nil {
		return -1, err
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, fmt.Errorf("attach layer: %w", err)
	}
	fs.points = append(fs.points, point)
	return unix.Open(point, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// close gives up what the overlay, once made, holds itself.
func (fs *rootfs) close() {
	closeAll(fs.layers)
	for _, p := range fs.points {
		_ = unix.Unmount(p, unix.MNT_DETACH) // only we know it; New sweeps what is left
	}
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// openUpper opens the directories of the writable layer. The root of it gets the mode of the image's root.
func openUpper(dir string, lower int) (upper, work int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(lower, &st); err != nil {
		return -1, -1, fmt.Errorf("look at image root: %w", err)
	}
	const flags = unix.O_DIRECTORY | unix.O_CLOEXEC
	if upper, err = unix.Open(filepath.Join(dir, "upper"), flags, 0); err != nil {
		return -1, -1, fmt.Errorf("open writable layer: %w", err)
	}
	if work, err = unix.Open(filepath.Join(dir, "work"), flags, 0); err == nil && st.Mode&0o7777 != 0o755 {
		err = unix.Fchmod(upper, st.Mode&0o7777)
	}
	if err != nil {
		unix.Close(upper)
		return -1, -1, fmt.Errorf("open writable layer: %w", err)
	}
	return upper, work, nil
}

// newOverlay makes the overlay. It is volatile: nobody reads its writable layer after a crash, so syncs can be saved.
func newOverlay(layers []int, upper, work int) (int, error) {
	options := []string{"upperdir", fdPath(upper), "workdir", fdPath(work), "volatile", "", "source", "overlay"}
	paths := make([]string, len(layers))
	for i, fd := range layers {
		paths[i] = fdPath(fd)
	}
	const longest = 255 // of one option
	if all := strings.Join(paths, ":"); len(all) <= longest {
		return newFS("overlay", 0, append(options, "lowerdir", all)...)
	}
	for _, p := range paths { // Linux 6.5
		options = append(options, "lowerdir+", p)
	}
	return newFS("overlay", 0, options...)
}
