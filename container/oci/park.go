//go:build linux

package oci

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// Park implements container.Runtime. Of the namespaces only the network's is made ahead. Root in the container is root
// on the node, whatever opt.HostUserNS says: Sandbox.UIDs is 0.
func (r *Runtime) Park(ctx context.Context, opt container.ParkOptions) (container.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return container.Sandbox{}, err
	}
	from, err := r.netOf(opt)
	if err != nil {
		return container.Sandbox{}, err
	}
	id := "s" + strings.ToLower(rand.Text())
	sandbox := container.Sandbox{ID: id, NetNS: r.path("net", id), Opt: opt}
	b := &box{ended: make(chan struct{})}
	b.Status = container.Status{ID: id, Phase: container.Parked, Sandbox: sandbox}
	err = bindNet(from, sandbox.NetNS)
	if err == nil {
		err = os.Mkdir(b.path(r), 0o700)
	}
	if err == nil {
		err = r.change(b, func(*container.Status) {})
	}
	if err != nil {
		return container.Sandbox{}, errors.Join(fmt.Errorf("park: %w", err), r.discard(ctx, b))
	}
	r.mu.Lock()
	r.boxes[id] = b
	r.mu.Unlock()
	return sandbox, nil
}

// netOf returns the path of the network namespace to use; "" is a new one.
func (r *Runtime) netOf(opt container.ParkOptions) (string, error) {
	switch {
	case opt.HostNet && opt.NetOf != "":
		return "", holdfast.Errorf(holdfast.ErrInvalid, "the network of the host and of container %s", opt.NetOf)
	case opt.HostNet:
		return "/proc/thread-self/ns/net", nil
	case opt.NetOf != "":
		b, err := r.running(opt.NetOf)
		if err != nil {
			return "", err
		}
		return b.Status.Sandbox.NetNS, nil
	}
	return "", nil
}

// bindNet makes a network namespace, or takes the one at from, and keeps it at path.
func bindNet(from, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	f.Close()
	if from != "" {
		return bindFile(from, path)
	}
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := loopbackUp(); err != nil {
			return err
		}
		return bindFile("/proc/thread-self/ns/net", path)
	})
	if err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	return nil
}

// onThread runs f on a thread that ends after it, so that f may change what the thread shares. That must not be the
// process's first, which never ends, and for which /proc/self stands.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		defer runtime.UnlockOSThread()
		done <- onThread(f) // on another, since this one is taken
	}()
	return <-done
}

func bindFile(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", from, err)
	}
	return nil
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(s)
	ifreq, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name loopback: %w", err)
	}
	ifreq.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifreq); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	return nil
}

// dropNet gives up a sandbox's network namespace.
func (r *Runtime) dropNet(id string) error {
	path := r.path("net", id)
	if err := ignore(unix.Unmount(path, unix.MNT_DETACH), unix.EINVAL, unix.ENOENT); err != nil {
		return fmt.Errorf("unmount network namespace: %w", err)
	}
	return ignore(os.Remove(path), fs.ErrNotExist)
}
