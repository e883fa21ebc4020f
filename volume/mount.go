package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// options are the driver options of a volume of the local driver, as mount(2) takes them. Nil is a plain directory.
type options struct {
	fsType string
	device string
	flags  uintptr
	data   []string
}

// mountFlags are the words of option o that are flags of mount(2); those of value 0 ask for what is so anyway.
var mountFlags = map[string]uintptr{
	"defaults": 0, "rw": 0, "suid": 0, "dev": 0, "exec": 0, "async": 0, "atime": 0, "diratime": 0, "norelatime": 0,
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
	"sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME,
	"relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME, "lazytime": unix.MS_LAZYTIME,
	"bind": unix.MS_BIND, "rbind": unix.MS_BIND | unix.MS_REC,
}

// parseOptions returns v's driver options, ErrInvalid or ErrUnsupported saying which one is wrong.
func parseOptions(v holdfast.Volume) (*options, error) {
	if v.Driver != "" && v.Driver != "local" {
		return nil, holdfast.Errorf(holdfast.ErrUnsupported, "volume %s: driver %q: only local is there", v.Name, v.Driver)
	}
	if len(v.DriverOpts) == 0 {
		return nil, nil
	}
	for key := range v.DriverOpts {
		if !slices.Contains([]string{"type", "o", "device"}, key) {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "volume %s: driver option %q: the local driver has type, o and device", v.Name, key)
		}
	}
	m := &options{fsType: v.DriverOpts["type"], device: v.DriverOpts["device"]}
	for _, word := range strings.Split(v.DriverOpts["o"], ",") {
		if flag, ok := mountFlags[word]; ok {
			m.flags |= flag
		} else if word != "" {
			m.data = append(m.data, word)
		}
	}
	if m.device == "" {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "volume %s: driver option device is missing", v.Name)
	}
	if m.fsType == "" && m.flags&unix.MS_BIND == 0 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "volume %s: driver option type is missing", v.Name)
	}
	if m.fsType == "none" && m.flags&unix.MS_BIND == 0 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "volume %s: driver option type is none: o must have bind", v.Name)
	}
	return m, nil
}

// mount mounts m on path unless something is mounted there already.
func (m *options) mount(ctx context.Context, path string) error {
	if m == nil {
		return nil
	}
	if mounted, err := mountinfo.Mounted(path); err != nil || mounted {
		return err
	}
	data, err := m.resolved(ctx)
	if err != nil {
		return err
	}
	if m.flags&unix.MS_BIND != 0 {
		if _, err := os.Stat(m.device); err != nil {
			return holdfast.Errorf(holdfast.ErrNotFound, "driver option device: %w", err)
		}
	}
	if err := unix.Mount(m.device, path, m.fsType, m.flags, data); err != nil {
		return m.explain(err)
	}
	// A bind mount takes its other flags only when it is there.
	if extra := m.flags &^ (unix.MS_BIND | unix.MS_REC); m.flags&unix.MS_BIND != 0 && extra != 0 {
		if err := unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|extra, ""); err != nil {
			return errors.Join(m.explain(err), unmount(path))
		}
	}
	return nil
}

// resolved returns the file system's own options; the kernel wants the address of an NFS or CIFS server as a number.
func (m *options) resolved(ctx context.Context) (string, error) {
	data := slices.Clone(m.data)
	for i, word := range data {
		host, ok := strings.CutPrefix(word, "addr=")
		if !ok || net.ParseIP(host) != nil {
			continue
		}
		addrs, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return "", fmt.Errorf("resolve addr=%s: %w", host, err)
		}
		data[i] = "addr=" + addrs[0]
	}
	return strings.Join(data, ","), nil
}

func (m *options) explain(err error) error {
	what := fmt.Sprintf("mount device %s, type %s, options %q", m.device, m.fsType, strings.Join(m.data, ","))
	switch {
	case errors.Is(err, unix.ENODEV):
		return holdfast.Errorf(holdfast.ErrUnsupported, "%s: this node's kernel has no file system %s", what, m.fsType)
	case errors.Is(err, unix.EINVAL):
		return holdfast.Errorf(holdfast.ErrInvalid, "%s: the file system refuses these options: %w", what, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTBLK):
		return holdfast.Errorf(holdfast.ErrNotFound, "%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// unmount unmounts path; when nothing is mounted there, that is no error.
func unmount(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", path, err)
}
