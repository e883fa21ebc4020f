package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

var ctx = context.Background()

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "volumes"), nil)
	must(t, err)
	t.Cleanup(func() { unmountAll(t, s.dir) })
	return s
}

// unmountAll lets the test's directory be removed whatever went wrong.
func unmountAll(t *testing.T, dir string) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], dir) {
			_ = unix.Unmount(f[4], unix.MNT_DETACH)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func isKind(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: got %v, want kind %v", what, err, kind)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func TestLifeOfAVolume(t *testing.T) {
	s := open(t)
	v := holdfast.Volume{Name: "app_data", Labels: map[string]string{"a": "b"}}
	path, err := s.Acquire(ctx, v, "app-db-1-x", nil)
	must(t, err)
	write(t, filepath.Join(path, "file"), "precious")
	again, err := s.Acquire(ctx, v, "app-db-2-x", nil)
	must(t, err)
	if again != path {
		t.Errorf("paths %s, %s", path, again)
	}
	info, err := s.Inspect("app_data")
	must(t, err)
	if !slices.Equal(info.Users, []string{"app-db-1-x", "app-db-2-x"}) || info.Path != path || info.Labels["a"] != "b" || info.Created.IsZero() {
		t.Errorf("%+v", info)
	}
	isKind(t, "remove a used one", s.Remove(ctx, "app_data"), holdfast.ErrConflict)

	// The agent restarts; one of the replicas died meanwhile.
	s, err = Open(s.dir, nil)
	must(t, err)
	isKind(t, "remove a used one after a restart", s.Remove(ctx, "app_data"), holdfast.ErrConflict)
	must(t, s.Adopt(ctx, []string{"app-db-2-x"}))
	if info, _ := s.Inspect("app_data"); !slices.Equal(info.Users, []string{"app-db-2-x"}) {
		t.Errorf("users after Adopt: %v", info.Users)
	}
	must(t, s.Release(ctx, "app-db-2-x"))
	must(t, s.Release(ctx, "app-db-2-x"))
	if got := read(t, filepath.Join(path, "file")); got != "precious" {
		t.Errorf("got %q", got)
	}
	must(t, s.Remove(ctx, "app_data"))
	isKind(t, "remove again", s.Remove(ctx, "app_data"), holdfast.ErrNotFound)
	if _, err := s.Inspect("app_data"); !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("inspect: %v", err)
	}
	if entries, _ := os.ReadDir(s.dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestRefusals(t *testing.T) {
	s := open(t)
	for _, name := range []string{"", "..", "a/b", ".hidden", "a b", strings.Repeat("x", 201)} {
		_, err := s.Ensure(ctx, holdfast.Volume{Name: name}, nil)
		isKind(t, "name "+name, err, holdfast.ErrInvalid)
		isKind(t, "remove "+name, s.Remove(ctx, name), holdfast.ErrInvalid)
	}
	_, err := s.Acquire(ctx, holdfast.Volume{Name: "v"}, "../../etc", nil)
	isKind(t, "replica name", err, holdfast.ErrInvalid)
	for what, c := range map[string]struct {
		v    holdfast.Volume
		kind error
	}{
		"driver":         {holdfast.Volume{Driver: "rexray"}, holdfast.ErrUnsupported},
		"option":         {holdfast.Volume{DriverOpts: map[string]string{"size": "1"}}, holdfast.ErrInvalid},
		"no device":      {holdfast.Volume{DriverOpts: map[string]string{"type": "tmpfs"}}, holdfast.ErrInvalid},
		"no type":        {holdfast.Volume{DriverOpts: map[string]string{"device": "/dev/x"}}, holdfast.ErrInvalid},
		"none, not bind": {holdfast.Volume{DriverOpts: map[string]string{"type": "none", "device": "/"}}, holdfast.ErrInvalid},
		"bind nowhere":   {holdfast.Volume{DriverOpts: map[string]string{"type": "none", "o": "bind", "device": "/no/such/place"}}, holdfast.ErrNotFound},
		"file system":    {holdfast.Volume{DriverOpts: map[string]string{"type": "nosuchfs", "device": "x"}}, holdfast.ErrUnsupported},
		"its options":    {holdfast.Volume{DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "nonsense=1"}}, holdfast.ErrInvalid},
		"external":       {holdfast.Volume{External: true}, holdfast.ErrNotFound},
	} {
		c.v.Name = "v"
		_, err := s.Ensure(ctx, c.v, nil)
		isKind(t, what, err, c.kind)
		if err := s.Remove(ctx, "v"); err != nil && !errors.Is(err, holdfast.ErrNotFound) {
			t.Errorf("%s: remove after the failure: %v", what, err)
		}
	}
	_, err = s.Ensure(ctx, holdfast.Volume{Name: "w"}, nil)
	must(t, err)
	_, err = s.Ensure(ctx, holdfast.Volume{Name: "w", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs"}}, nil)
	isKind(t, "other options", err, holdfast.ErrConflict)
	if _, err = s.Ensure(ctx, holdfast.Volume{Name: "w", External: true}, nil); err != nil {
		t.Errorf("external that is there: %v", err)
	}
}

func TestAnonymousVolumesGoWithTheirReplica(t *testing.T) {
	s := open(t)
	a, err := s.AcquireAnonymous(ctx, "r1", "/data", nil)
	must(t, err)
	b, err := s.AcquireAnonymous(ctx, "r1", "/cache", nil)
	must(t, err)
	c, err := s.AcquireAnonymous(ctx, "r2", "/data", nil)
	must(t, err)
	if a == b || a == c {
		t.Errorf("paths %s %s %s", a, b, c)
	}
	must(t, s.Release(ctx, "r1"))
	for path, want := range map[string]bool{a: false, b: false, c: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want there %v", path, err, want)
		}
	}
	must(t, s.Adopt(ctx, nil))
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("left %v, %v", all, err)
	}
}

func TestPruneAndSize(t *testing.T) {
	s := open(t)
	for _, name := range []string{"used", "kept", "old1", "old2"} {
		path, err := s.Ensure(ctx, holdfast.Volume{Name: name}, nil)
		must(t, err)
		write(t, filepath.Join(path, "f"), strings.Repeat("x", 100_000))
		must(t, os.Link(filepath.Join(path, "f"), filepath.Join(path, "again")))
	}
	_, err := s.Acquire(ctx, holdfast.Volume{Name: "used"}, "r", nil)
	must(t, err)
	size, err := s.Size(ctx, "kept")
	must(t, err)
	if size < 100_000 || size > 130_000 {
		t.Errorf("size %d", size)
	}
	removed, bytes, err := s.Prune(ctx, func(i Info) bool { return i.Name == "kept" })
	must(t, err)
	if len(removed) != 2 || removed[0].Name != "old1" || removed[1].Name != "old2" || bytes != 2*size {
		t.Errorf("removed %v, %d bytes", removed, bytes)
	}
	if all, _ := s.List(); len(all) != 2 || all[0].Name != "kept" || all[1].Name != "used" {
		t.Errorf("left %v", all)
	}
}

// A disk that is full when a volume is made leaves nothing that looks like one.
func TestDiskFullDuringCreate(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "nr_inodes=6"))
	t.Cleanup(func() { unmountAll(t, dir) })
	s, err := Open(dir, nil)
	must(t, err)
	_, err = s.Ensure(ctx, holdfast.Volume{Name: "one"}, nil) // 4 of 5 inodes
	must(t, err)
	if _, err := s.Ensure(ctx, holdfast.Volume{Name: "two"}, nil); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v, want no space left", err)
	}
	if all, err := s.List(); err != nil || len(all) != 1 {
		t.Errorf("volumes %v, %v", all, err)
	}
}

func TestCrashDuringCreateAndRemove(t *testing.T) {
	s := open(t)
	must(t, os.MkdirAll(filepath.Join(s.dir, newPrefix+"123", dataDir), 0o755))
	must(t, os.MkdirAll(filepath.Join(s.dir, gonePrefix+"123", dataDir, "x"), 0o755))
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("volumes %v, %v", all, err)
	}
	_, err := Open(s.dir, nil)
	must(t, err)
	if entries, _ := os.ReadDir(s.dir); len(entries) != 0 {
		t.Errorf("left %v", entries)
	}
}
