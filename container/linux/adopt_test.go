//go:build linux

package linux

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
)

func startOne(t *testing.T, r *Runtime, id string, args ...string) container.Status {
	t.Helper()
	sandbox, err := r.Park(t.Context(), container.ParkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	image := containertest.NewImage(t)
	status, err := r.Start(t.Context(), container.Spec{
		ID: id, Sandbox: sandbox.ID, OCI: image.Config(t, args...), Rootfs: container.Rootfs{Dirs: []string{image.Dir}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// vaultOf waits for the vault, which is filled beside a start's return.
func vaultOf(t *testing.T, r *Runtime) int {
	t.Helper()
	for !r.vault.open() {
		runtime.Gosched()
	}
	r.vault.mu.Lock()
	defer r.vault.mu.Unlock()
	return r.vault.child.pid
}

// TestTornState: whatever a crash left of the state's files, the next runtime opens, keeps what is whole and sweeps the
// rest, processes included.
func TestTornState(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	whole := startOne(t, r, "whole", "sleep")
	torn := startOne(t, r, "torn", "sleep")
	lost := startOne(t, r, "lost", "sleep")
	parked, err := r.Park(t.Context(), container.ParkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tornBox, err := r.Park(t.Context(), container.ParkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	processes := map[string]int{}
	for id, pid := range map[string]int{"torn": torn.PID, "lost": lost.PID, "the vault": vaultOf(t, r)} {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		processes[id] = fd
	}
	cfg := r.cfg
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(cfg.Dir, torn.Sandbox.ID, recordFile)
	half := func(path string) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, info.Size()/2); err != nil {
			t.Fatal(err)
		}
	}
	half(record)
	half(filepath.Join(cfg.RunDir, boxesDir, tornBox.ID+".json"))
	if err := os.Remove(filepath.Join(cfg.Dir, lost.Sandbox.ID, recordFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, whole.Sandbox.ID, recordFile+".new"), []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.RunDir, "vault.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	phases := map[string]container.Phase{}
	for _, s := range list {
		phases[s.ID] = s.Phase
	}
	if len(phases) != 2 || phases["whole"] != container.Running || phases[parked.ID] != container.Parked {
		t.Errorf("listed %v", phases)
	}
	for id, fd := range processes {
		if !exited(fd) {
			t.Errorf("the process of %s, which nobody knows any more, goes on", id)
		}
	}
	for _, id := range []string{"whole", parked.ID} {
		if err := r.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	for _, pattern := range []string{filepath.Join(cfg.Dir, "sb-*"), filepath.Join(cfg.RunDir, pipesDir, "*"), filepath.Join(cfg.RunDir, boxesDir, "*")} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

// TestFullDiskStart: a container that cannot be written down is not started, and nothing is left of it.
func TestFullDiskStart(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	r := open(t, dir)
	defer r.Close()
	sandbox, err := r.Park(t.Context(), container.ParkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fill, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = fill.Write(block)
	}
	image := containertest.NewImage(t)
	spec := container.Spec{ID: "x", Sandbox: sandbox.ID, OCI: image.Config(t, "sleep"), Rootfs: container.Rootfs{Dirs: []string{image.Dir}}}
	if _, err := r.Start(t.Context(), spec); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("start on a full disk: %v", err)
	}
	if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	if err := fill.Truncate(0); err != nil {
		t.Fatal(err)
	}
	startOne(t, r, "x", "exit", "0")
	c, err := r.find("x")
	if err != nil {
		t.Fatal(err)
	}
	<-c.done
	if err := r.Remove(t.Context(), "x"); err != nil {
		t.Error(err)
	}
}

// TestOneRuntime: two runtimes do not share a directory.
func TestOneRuntime(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	if second, err := New(config(t, dir)); !errors.Is(err, holdfast.ErrConflict) {
		t.Errorf("a second runtime: %v", err)
		if second != nil {
			second.Close()
		}
	}
	startOne(t, r, "after", "exit", "3") // the first one is unharmed
	c, err := r.find("after")
	if err != nil {
		t.Fatal(err)
	}
	if <-c.done; c.status().ExitCode != 3 {
		t.Errorf("%+v", c.status())
	}
	if err := r.Remove(t.Context(), "after"); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
