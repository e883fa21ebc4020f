package containertest

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/logs"
)

// patience is how long a condition is waited for before a test fails.
const patience = 30 * time.Second

// harness is one test's runtime and what it made.
type harness struct {
	*testing.T
	cfg   Config
	image Image
	dir   string
	rt    container.Runtime
	close func()
	ids   []string // to remove
}

func newHarness(t *testing.T, cfg Config, image Image) *harness {
	h := &harness{T: t, cfg: cfg, image: image, dir: t.TempDir()}
	h.rt, h.close = cfg.Open(t, h.dir)
	t.Cleanup(func() {
		for _, id := range h.ids {
			if err := h.rt.Remove(context.Background(), id); err != nil {
				t.Errorf("remove %s: %v", id, err)
			}
		}
		h.close()
	})
	return h
}

// reopen is what a restart of the process that holds the runtime does.
func (h *harness) reopen() {
	h.Helper()
	h.close()
	h.rt, h.close = h.cfg.Open(h, h.dir)
}

// option changes a container before it starts.
type option func(*container.Spec)

// spec parks a sandbox and returns what runs the suite's program in it.
func (h *harness) spec(args []string, options ...option) container.Spec {
	h.Helper()
	sandbox := h.park(h.cfg.Park)
	id := "t" + strings.ToLower(rand.Text())[:12]
	h.ids = append(h.ids, id)
	spec := container.Spec{
		ID: id, Sandbox: sandbox.ID, OCI: h.image.Config(h, args...), Rootfs: container.Rootfs{Dirs: []string{h.image.Dir}},
		Log: container.Log{Path: filepath.Join(h.dir, id+".log")},
	}
	for _, o := range options {
		o(&spec)
	}
	return spec
}

func (h *harness) park(opt container.ParkOptions) container.Sandbox {
	h.Helper()
	sandbox, err := h.rt.Park(h.Context(), opt)
	if err != nil {
		h.Fatalf("park: %v", err)
	}
	h.ids = append(h.ids, sandbox.ID)
	return sandbox
}

// start starts the suite's program with args.
func (h *harness) start(args []string, options ...option) container.Status {
	h.Helper()
	status, err := h.rt.Start(h.Context(), h.spec(args, options...))
	if err != nil {
		h.Fatalf("start %v: %v", args, err)
	}
	return status
}

// run runs the suite's program to its end and returns its exit code and standard output, then error.
func (h *harness) run(args []string, options ...option) (code int, output string) {
	h.Helper()
	status := h.exited(h.start(args, options...).ID)
	return status.ExitCode, h.log(status.ID)
}

// output is run for a program that must succeed.
func (h *harness) output(args []string, options ...option) string {
	h.Helper()
	code, out := h.run(args, options...)
	if code != 0 {
		h.Fatalf("%v: exit code %d:\n%s", args, code, out)
	}
	return out
}

// exited waits for the end of the container.
func (h *harness) exited(id string) container.Status {
	h.Helper()
	return h.until(id, func(s container.Status) bool { return s.Phase == container.Exited })
}

// until waits for a status of the container.
func (h *harness) until(id string, ok func(container.Status) bool) container.Status {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	changes, err := h.rt.Watch(ctx)
	must(h, err)
	var last container.Status
	for s := range changes {
		if s.ID == id {
			if last = s; ok(s) {
				return s
			}
		}
	}
	h.Fatalf("container %s stayed %+v", id, last)
	return last
}

// entries reads a container's log.
func (h *harness) entries(id string) []logs.Entry {
	h.Helper()
	var list []logs.Entry
	for e, err := range logs.Read(h.Context(), filepath.Join(h.dir, id+".log"), logs.Options{Tail: -1}) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		must(h, err)
		list = append(list, e)
	}
	return list
}

// log returns the text of a container's log, all of standard output first.
func (h *harness) log(id string) string {
	h.Helper()
	var out, errs strings.Builder
	for _, e := range h.entries(id) {
		b := &out
		if e.Stream == "stderr" {
			b = &errs
		}
		b.WriteString(e.Text)
		if !e.Partial {
			b.WriteByte('\n')
		}
	}
	return out.String() + errs.String()
}

// says waits until the container's log holds text.
func (h *harness) says(id, text string) {
	h.Helper()
	h.eventually("log of "+id+" says "+text, func() bool { return strings.Contains(h.log(id), text) })
}

// eventually waits for a condition that nothing announces.
func (h *harness) eventually(what string, ok func() bool) {
	h.Helper()
	deadline := time.After(patience)
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-deadline:
			h.Fatalf("waited in vain: %s", what)
		case <-again.C:
		}
	}
}

// list returns the runtime's list by ID.
func (h *harness) list() map[string]container.Status {
	h.Helper()
	all, err := h.rt.List(h.Context())
	must(h, err)
	byID := map[string]container.Status{}
	for _, s := range all {
		byID[s.ID] = s
	}
	return byID
}

// file makes a file on the node that containers can read, and returns its path.
func (h *harness) file(name, content string) string {
	h.Helper()
	path := filepath.Join(h.dir, name)
	must(h, os.WriteFile(path, []byte(content), 0o644))
	return path
}
