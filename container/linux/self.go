//go:build linux

package linux

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// selfImage is this binary in a form that no one can write to through /proc/<pid>/exe (CVE-2019-5736): a file of an
// overlay without an upper layer, which no remount makes writable; or, where that cannot be, a sealed memfd.
type selfImage struct {
	fd   int
	file string // below fd; "" when fd is the file itself
}

func newSelfImage() (*selfImage, error) {
	if s, err := overlaySelf(); err == nil {
		return s, nil
	}
	return memfdSelf()
}

func (s *selfImage) path() string { return filepath.Join(fdPath(s.fd), s.file) }

func (s *selfImage) close() { unix.Close(s.fd) }

func overlaySelf() (*selfImage, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	empty, err := newFS("tmpfs", unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(empty)
	dir, err := unix.Open(filepath.Dir(exe), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := newFS("overlay", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID,
		"lowerdir", fdPath(dir)+":"+fdPath(empty))
	if err != nil {
		return nil, err
	}
	s := &selfImage{fd: fd, file: filepath.Base(exe)}
	if s.replaced() {
		unix.Close(fd)
		return nil, fmt.Errorf("binary was replaced since it started")
	}
	return s, nil
}

// replaced tells whether a new binary is in the place of the one that runs: children must be of this build.
func (s *selfImage) replaced() bool {
	if s.file == "" {
		return false
	}
	var here, there unix.Stat_t
	err := unix.Stat("/proc/self/exe", &here)
	if err == nil {
		err = unix.Fstatat(s.fd, s.file, &there, 0)
	}
	return err != nil || here.Size != there.Size || here.Mtim != there.Mtim
}

func memfdSelf() (*selfImage, error) {
	src, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("open own binary: %w", err)
	}
	defer src.Close()
	fd, err := unix.MemfdCreate("holdfast", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("create memfd: %w", err)
	}
	dst := os.NewFile(uintptr(fd), "holdfast")
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		return nil, fmt.Errorf("copy own binary: %w", err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(dst.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("seal own binary: %w", err)
	}
	own, err := unix.FcntlInt(dst.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &selfImage{fd: own}, nil
}
