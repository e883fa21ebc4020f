//go:build linux

package linux

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// images mounts each image file once, for all containers that use it.
type images struct {
	dir string // mount points; on a private mount

	mu   sync.Mutex
	byID map[imageID]*imageMount
}

// imageID is a file on this machine, whatever its name.
type imageID struct {
	dev, ino uint64
	mtime    unix.Timespec
}

type imageMount struct {
	id    imageID
	users int
	point string
	root  int // O_PATH
	loop  *os.File
}

// use mounts the image file, or counts another user of its mount.
func (im *images) use(file string) (*imageMount, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.ErrNotFound, "open image: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("look at image %s: %w", file, err)
	}
	id := imageID{dev: st.Dev, ino: st.Ino, mtime: st.Mtim}
	im.mu.Lock()
	defer im.mu.Unlock()
	m := im.byID[id]
	if m == nil {
		if m, err = im.mount(file, id, f); err != nil {
			return nil, fmt.Errorf("mount image %s: %w", file, err)
		}
		im.byID[id] = m
	}
	m.users++
	return m, nil
}

func (im *images) mount(file string, id imageID, f *os.File) (*imageMount, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%+v", id))
	m := &imageMount{id: id, point: filepath.Join(im.dir, hex.EncodeToString(sum[:8]))}
	fd, err := newFS("erofs", unix.MOUNT_ATTR_RDONLY, "source", fdPath(int(f.Fd())), "ro", "")
	if errors.Is(err, unix.ENOTBLK) { // before Linux 6.12 a file needs a loop device
		if m.loop, err = attachLoop(f); err == nil {
			fd, err = newFS("erofs", unix.MOUNT_ATTR_RDONLY, "source", m.loop.Name(), "ro", "")
		}
	}
	if err != nil {
		m.close()
		return nil, err
	}
	defer unix.Close(fd)
	if err := m.place(fd); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// place attaches the mount, since overlayfs takes only attached layers before Linux 6.15.
func (m *imageMount) place(fd int) error {
	if err := os.MkdirAll(m.point, 0o700); err != nil {
		return err
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, m.point, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach to %s: %w", m.point, err)
	}
	root, err := unix.Open(m.point, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Unmount(m.point, unix.MNT_DETACH)
		return err
	}
	m.root = root
	return nil
}

// close frees the loop device; the kernel keeps it as long as it is mounted.
func (m *imageMount) close() {
	if m.loop != nil {
		m.loop.Close()
	}
}

// drop counts one user less, and unmounts the image with the last one.
func (im *images) drop(m *imageMount) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	if m.users--; m.users > 0 {
		return nil
	}
	delete(im.byID, m.id)
	unix.Close(m.root)
	err := unix.Unmount(m.point, unix.MNT_DETACH)
	m.close()
	if err != nil {
		return fmt.Errorf("unmount image: %w", err)
	}
	return os.Remove(m.point)
}

// attachLoop returns a loop device that shows f, and frees itself after its last use.
func attachLoop(f *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open loop control: %w", err)
	}
	defer control.Close()
	for range 32 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("get free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("open loop device: %w", err)
		}
		config := unix.LoopConfig{Fd: uint32(f.Fd())}
		config.Info.Flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR
		if err = unix.IoctlLoopConfigure(int(loop.Fd()), &config); err == nil {
			return loop, nil
		}
		loop.Close()
		if err != unix.EBUSY { // another took it first
			return nil, fmt.Errorf("set up loop device: %w", err)
		}
	}
	return nil, holdfast.Errorf(holdfast.ErrUnavailable, "no free loop device")
}
