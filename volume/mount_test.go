package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

func TestDriverOptions(t *testing.T) {
	s := open(t)
	tmpfs := holdfast.Volume{Name: "fast", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,noexec"}}
	path, err := s.Acquire(ctx, tmpfs, "r1", nil)
	must(t, err)
	var fsInfo unix.Statfs_t
	must(t, unix.Statfs(path, &fsInfo))
	if fsInfo.Type != unix.TMPFS_MAGIC || fsInfo.Blocks*uint64(fsInfo.Bsize) != 1<<20 || fsInfo.Flags&unix.ST_NOEXEC == 0 {
		t.Errorf("mounted %+v", fsInfo)
	}
	write(t, filepath.Join(path, "x"), "x")
	_, err = s.Acquire(ctx, tmpfs, "r2", nil)
	must(t, err)
	if got := read(t, filepath.Join(path, "x")); got != "x" {
		t.Errorf("the second user sees %q", got)
	}
	must(t, s.Release(ctx, "r1"))
	if _, err := os.Stat(filepath.Join(path, "x")); err != nil {
		t.Errorf("unmounted under its user: %v", err)
	}
	must(t, s.Release(ctx, "r2"))
	if _, err := os.Stat(filepath.Join(path, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still mounted after the last user: %v", err)
	}

	device := t.TempDir()
	write(t, filepath.Join(device, "theirs"), "keep me")
	bind := holdfast.Volume{Name: "bound", DriverOpts: map[string]string{"type": "none", "o": "bind,ro", "device": device}}
	path, err = s.Ensure(ctx, bind, nil)
	must(t, err)
	if got := read(t, filepath.Join(path, "theirs")); got != "keep me" {
		t.Errorf("got %q", got)
	}
	if err := os.WriteFile(filepath.Join(path, "mine"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to o=ro: %v", err)
	}
	must(t, s.Remove(ctx, "bound"))
	if got := read(t, filepath.Join(device, "theirs")); got != "keep me" {
		t.Errorf("removing the volume emptied the device: %q", got)
	}
}

// What is mounted in a volume by others survives its removal.
func TestRemoveNeverCrossesAMount(t *testing.T) {
	s := open(t)
	path, err := s.Ensure(ctx, holdfast.Volume{Name: "v"}, nil)
	must(t, err)
	theirs := t.TempDir()
	write(t, filepath.Join(theirs, "file"), "keep me")
	must(t, os.Mkdir(filepath.Join(path, "sub"), 0o755))
	must(t, unix.Mount(theirs, filepath.Join(path, "sub"), "", unix.MS_BIND, ""))
	if err := s.Remove(ctx, "v"); err == nil {
		t.Error("removed")
	}
	if got := read(t, filepath.Join(theirs, "file")); got != "keep me" {
		t.Errorf("got %q", got)
	}
}

func TestSubpath(t *testing.T) {
	s := open(t)
	path, err := s.Acquire(ctx, holdfast.Volume{Name: "v"}, "r", nil)
	must(t, err)
	write(t, filepath.Join(path, "a/b/file"), "inside")
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "outside")
	must(t, os.Symlink(filepath.Dir(secret), filepath.Join(path, "escape")))
	must(t, os.Symlink("/a/b", filepath.Join(path, "absolute")))

	dir, err := s.Subpath(ctx, "v", "r", "a/b")
	must(t, err)
	file, err := s.Subpath(ctx, "v", "r", "absolute/file")
	must(t, err)
	if got := read(t, filepath.Join(dir, "file")) + read(t, file); got != "insideinside" {
		t.Errorf("got %q", got)
	}
	for _, sub := range []string{"escape", "escape/secret", "../../../../../../.." + secret, "missing", "a/b/file/x"} {
		_, err := s.Subpath(ctx, "v", "r", sub)
		isKind(t, sub, err, holdfast.ErrNotFound)
	}
	again, err := s.Subpath(ctx, "v", "r", "a/b")
	must(t, err)
	if again != dir {
		t.Errorf("paths %s, %s", dir, again)
	}
	must(t, s.Release(ctx, "r"))
	if got := read(t, filepath.Join(path, "a/b/file")); got != "inside" {
		t.Errorf("releasing a subpath emptied it: %q", got)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	must(t, s.Remove(ctx, "v"))
}

func TestBindSource(t *testing.T) {
	dir := t.TempDir()
	isKind(t, "missing", BindSource(filepath.Join(dir, "a"), false), holdfast.ErrNotFound)
	isKind(t, "relative", BindSource("a", true), holdfast.ErrInvalid)
	must(t, BindSource(filepath.Join(dir, "a/b"), true))
	must(t, BindSource(filepath.Join(dir, "a/b"), false))
	write(t, filepath.Join(dir, "file"), "x")
	must(t, BindSource(filepath.Join(dir, "file"), false))
}
