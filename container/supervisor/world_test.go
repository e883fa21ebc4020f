//go:build linux

package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
	"github.com/holdfast/holdfast/container/logs"
)

// world is a supervisor in a process of its own, and containers in it.
type world struct {
	*testing.T
	cfg   Config
	image containertest.Image
	c     *Client
	dir   string
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	w := &world{T: t, cfg: config(t, dir), image: containertest.NewImage(t), dir: dir}
	w.up()
	t.Cleanup(func() {
		ctx := context.Background()
		list, err := w.c.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if err := w.c.Remove(ctx, s.ID); err != nil {
				t.Error(err)
			}
		}
		h, err := w.c.hello(ctx)
		if err != nil {
			t.Fatal(err)
		}
		w.end(h.PID, unix.SIGTERM)
		if t.Failed() {
			text, _ := os.ReadFile(w.cfg.LogFile)
			t.Logf("supervisor's log:\n%s", text)
		}
	})
	return w
}

// up makes sure that a supervisor runs.
func (w *world) up() {
	w.Helper()
	c, err := EnsureRunning(w.Context(), w.cfg)
	if err != nil {
		w.Fatal(err)
	}
	w.c = c
	if err := w.cfg.Validate(); err != nil {
		w.Fatal(err)
	}
}

// pid is the supervisor's process.
func (w *world) pid() int {
	w.Helper()
	h, err := w.c.hello(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return h.PID
}

// end sends sig to a process and waits until it is dead.
func (w *world) end(pid int, sig syscall.Signal) {
	w.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		w.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Kill(pid, sig); err != nil {
		w.Fatal(err)
	}
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); err != unix.EINTR {
			return
		}
	}
}

func (w *world) start(id string, change func(*container.Spec), args ...string) container.Status {
	w.Helper()
	sandbox, err := w.c.Park(w.Context(), container.ParkOptions{})
	if err != nil {
		w.Fatal(err)
	}
	spec := container.Spec{
		ID: id, Sandbox: sandbox.ID, OCI: w.image.Config(w, args...), Rootfs: container.Rootfs{Dirs: []string{w.image.Dir}},
		Log: container.Log{Path: w.logPath(id)},
	}
	if change != nil {
		change(&spec)
	}
	status, err := w.c.Start(w.Context(), spec)
	if err != nil {
		w.Fatal(err)
	}
	return status
}

func (w *world) logPath(id string) string { return filepath.Join(w.dir, id+".log") }

func (w *world) lines(id string) (lines []string) {
	for e, err := range logs.Read(w.Context(), w.logPath(id), logs.Options{Tail: -1}) {
		if err == nil {
			lines = append(lines, strings.TrimSuffix(e.Text, "\r")) // a terminal's
		}
	}
	return lines
}

func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			w.Fatalf("waited in vain: %s", what)
		}
	}
}

func (w *world) says(id, text string) {
	w.Helper()
	w.eventually(id+" says "+text, func() bool { return slices.Contains(w.lines(id), text) })
}

func (w *world) status(id string) container.Status {
	w.Helper()
	list, err := w.c.List(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s container.Status) bool { return s.ID == id })
	if i < 0 {
		w.Fatalf("no container %s in %+v", id, list)
	}
	return list[i]
}

func (w *world) exited(id string) container.Status {
	w.Helper()
	w.eventually(id+" ended", func() bool { return w.status(id).Phase == container.Exited })
	return w.status(id)
}

func (w *world) signal(pid int, sig syscall.Signal) {
	w.Helper()
	if err := unix.Kill(pid, sig); err != nil {
		w.Fatal(err)
	}
}
