// Package archive moves files in and out of a running container as tar streams. Every path is resolved inside the
// container's root by openat2(2) with RESOLVE_IN_ROOT, so that no link of the container leads out of it, whatever it
// changes meanwhile (CVE-2018-15664, CVE-2019-14271: nothing of the container is executed either).
//
// It may import the root package and libraries only.
package archive

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// Root is the root file system of a running container as its processes see it.
type Root struct {
	dir *os.File
	ids uint32 // host id of the container's id 0
}

// Open opens the root of the container whose first process is pid on this node and whose id 0 is ids here.
func Open(pid int, ids uint32) (*Root, error) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return nil, fmt.Errorf("open root of container: %w", err)
	}
	return &Root{dir: dir, ids: ids}, nil
}

// Close lets go of the root.
func (r *Root) Close() error { return r.dir.Close() }

const resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// openAt opens name inside the root.
func (r *Root) openAt(name string, flags uint64) (int, error) {
	for {
		fd, err := unix.Openat2(int(r.dir.Fd()), relative(name), &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve})
		if err == unix.EINTR || err == unix.EAGAIN { // a rename raced with ".."
			continue
		}
		if err != nil {
			return -1, notFound(name, err)
		}
		return fd, nil
	}
}

func relative(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return "."
	}
	return name
}

func notFound(name string, err error) error {
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return holdfast.Errorf(holdfast.ErrNotFound, "%s: %w", name, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// asContainer runs work on a thread whose files belong to the container's root, with the powers of ours: in a mount
// with mapped ids nobody else can create any. The thread ends with it.
func (r *Root) asContainer(work func() error) error {
	if r.ids == 0 {
		return work()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		if err := becomeOwner(int(r.ids)); err != nil {
			done <- err
			return
		}
		done <- work()
	}()
	return <-done
}

// becomeOwner sets the calling thread's file system ids, and raises the capabilities that this drops again.
func becomeOwner(id int) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("get capabilities: %w", err)
	}
	// Both calls return the former id and never an error; what they did shows at the first file.
	unix.SetfsgidRetGid(id) //nolint:errcheck // see above
	unix.SetfsuidRetUid(id) //nolint:errcheck // see above
	if err := unix.Capset(&hdr, &caps[0]); err != nil {
		return fmt.Errorf("set capabilities: %w", err)
	}
	return nil
}
