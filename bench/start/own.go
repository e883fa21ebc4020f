//go:build linux && amd64

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux"
	"github.com/holdfast/holdfast/container/logs"
	"github.com/holdfast/holdfast/container/supervisor"
)

// own is our runtime under measurement.
type own struct {
	rt    container.Runtime
	image *image
	dir   string
	park  container.ParkOptions
	cold  bool // parking is part of what is measured
	next  atomic.Int64

	mu     sync.Mutex
	ended  map[string]chan container.Status
	cancel context.CancelFunc
	closer func() error
}

func linuxConfig(dir, name string) linux.Config {
	return linux.Config{
		Dir: filepath.Join(dir, name, "lib"), RunDir: filepath.Join(dir, name, "run"), CgroupParent: "/holdfast-bench-" + name,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

func newOwn(rt container.Runtime, dir string, image *image, closer func() error) (*own, error) {
	ctx, cancel := context.WithCancel(context.Background())
	o := &own{rt: rt, image: image, dir: dir, ended: map[string]chan container.Status{}, cancel: cancel, closer: closer}
	changes, err := rt.Watch(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(err, closer())
	}
	go func() {
		for s := range changes {
			if s.Phase == container.Exited {
				o.mu.Lock()
				ch := o.ended[s.ID]
				delete(o.ended, s.ID)
				o.mu.Unlock()
				if ch != nil {
					ch <- s
				}
			}
		}
	}()
	return o, nil
}

func (o *own) close() error {
	o.cancel()
	return o.closer()
}

func inProcess(dir, name string, image *image) (*own, error) {
	cfg := linuxConfig(dir, name)
	rt, err := linux.New(cfg)
	if err != nil {
		return nil, err
	}
	return newOwn(rt, dir, image, func() error {
		err := rt.Close()
		removeCgroups(cfg.CgroupParent)
		return err
	})
}

// removeCgroups removes the parent of the containers' cgroups, and what is left in it, in all hierarchies. The last
// process may take a moment to leave.
func removeCgroups(parent string) {
	for range 100 {
		dirs, err := filepath.Glob("/sys/fs/cgroup/*" + parent)
		if err != nil {
			return
		}
		busy := false
		for _, d := range append(dirs, "/sys/fs/cgroup"+parent) {
			nested, err := filepath.Glob(d + "/*/")
			if err != nil {
				return
			}
			for _, n := range append(nested, d) {
				err := os.Remove(n)
				busy = busy || err != nil && !errors.Is(err, os.ErrNotExist)
			}
		}
		if !busy {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// bySocket starts a supervisor process and returns its client.
func bySocket(ctx context.Context, dir, name string, image *image) (*own, error) {
	cfg := supervisor.Config{Socket: filepath.Join(dir, name+".sock"), Runtime: linuxConfig(dir, name)}
	client, err := supervisor.EnsureRunning(ctx, cfg)
	if err != nil {
		return nil, err
	}
	pid, err := peer(cfg.Socket)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return newOwn(client, dir, image, func() error {
		err := errors.Join(client.Close(), syscall.Kill(pid, syscall.SIGTERM))
		for syscall.Kill(pid, 0) == nil { // its runtime lets go of the cgroups last
			time.Sleep(10 * time.Millisecond)
		}
		removeCgroups(cfg.Runtime.CgroupParent)
		return err
	})
}

func openSupervisor(ctx context.Context, dir string, image *image) (*candidate, error) {
	o, err := bySocket(ctx, dir, "warm", image)
	if err != nil {
		return nil, err
	}
	return &candidate{start: o.start, close: o.close}, nil
}

func openCold(ctx context.Context, dir string, image *image) (*candidate, error) {
	o, err := bySocket(ctx, dir, "cold", image)
	if err != nil {
		return nil, err
	}
	o.cold = true
	return &candidate{start: o.start, close: o.close}, nil
}

func openInProcess(_ context.Context, dir string, image *image) (*candidate, error) {
	o, err := inProcess(dir, "in-process", image)
	if err != nil {
		return nil, err
	}
	return &candidate{start: o.start, close: o.close}, nil
}

func openHostUserNS(_ context.Context, dir string, image *image) (*candidate, error) {
	o, err := inProcess(dir, "host-userns", image)
	if err != nil {
		return nil, err
	}
	o.park.HostUserNS = true
	return &candidate{start: o.start, close: o.close}, nil
}

// start starts one container in a sandbox parked before, waits for its end and removes it.
func (o *own) start(ctx context.Context) (time.Duration, error) {
	oci, err := config()
	if err != nil {
		return 0, err
	}
	id := fmt.Sprintf("bench-%d", o.next.Add(1))
	spec := container.Spec{ID: id, OCI: oci, Rootfs: o.image.rootfs, Log: container.Log{Path: filepath.Join(o.dir, id+".log")}}
	began := monotonic()
	sandbox, err := o.rt.Park(ctx, o.park)
	if err != nil {
		return 0, err
	}
	spec.Sandbox = sandbox.ID
	ended := make(chan container.Status, 1)
	o.mu.Lock()
	o.ended[id] = ended
	o.mu.Unlock()
	if !o.cold {
		began = monotonic()
	}
	if _, err := o.rt.Start(ctx, spec); err != nil {
		return 0, err
	}
	select {
	case s := <-ended:
		if s.ExitCode != 0 {
			return 0, fmt.Errorf("container %s ended with %d", id, s.ExitCode)
		}
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	took, err := o.read(ctx, spec.Log.Path, began)
	return took, errors.Join(err, o.rt.Remove(ctx, id), os.Remove(spec.Log.Path))
}

func (o *own) read(ctx context.Context, path string, began time.Duration) (time.Duration, error) {
	text := ""
	for e, err := range logs.Read(ctx, path, logs.Options{Tail: -1}) {
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		text += e.Text + "\n"
	}
	return firstInstruction(text, began)
}
