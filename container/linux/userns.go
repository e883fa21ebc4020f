//go:build linux

package linux

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// probeUserNS finds out whether this kernel makes user namespaces and overlays of id-mapped layers.
func (r *Runtime) probeUserNS() bool {
	err := r.tryUserNS()
	if err != nil {
		r.cfg.Log.Warn("containers get no user namespaces: root in them is root on the node", "reason", err)
	}
	return err == nil
}

func (r *Runtime) tryUserNS() error {
	c, err := r.zygote.spawn(unix.CLONE_NEWUSER, "")
	if err != nil {
		return err
	}
	defer c.reap()
	if err := r.ids.mapIDs(c.pid, r.ids.base); err != nil {
		return err
	}
	userNS, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", c.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(userNS)
	dir, err := os.MkdirTemp(r.cfg.Dir, ".probe")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	lower := filepath.Join(dir, "lower")
	fs := &rootfs{}
	defer fs.close()
	source, err := unix.Open(lower, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(source)
	mapped, err := fs.mapLayer(source, userNS, filepath.Join(dir, "mapped"))
	if err != nil {
		return err
	}
	fs.layers = []int{mapped}
	upper, work, err := openUpper(dir, mapped)
	if err != nil {
		return err
	}
	defer closeAll([]int{upper, work})
	overlay, err := newOverlay(fs.layers, upper, work)
	if err != nil {
		return err
	}
	return unix.Close(overlay)
}
