package volume

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

// image makes a root file system with all kinds of things at /var/lib/db.
func image(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	db := filepath.Join(root, "var/lib/db")
	write(t, filepath.Join(db, "conf/main.cf"), "setting")
	must(t, os.Symlink("conf/main.cf", filepath.Join(db, "link")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(db, "absolute")))
	must(t, os.Link(filepath.Join(db, "conf/main.cf"), filepath.Join(db, "hard")))
	must(t, unix.Mkfifo(filepath.Join(db, "fifo"), 0o640))
	must(t, unix.Setxattr(filepath.Join(db, "conf/main.cf"), "user.note", []byte("hi"), 0))
	must(t, unix.Chmod(filepath.Join(db, "conf"), 0o2750))
	must(t, os.Lchown(filepath.Join(db, "link"), 7, 8))
	must(t, os.Lchown(filepath.Join(db, "conf/main.cf"), 999, 998))
	must(t, os.Chmod(db, 0o700))
	must(t, os.Lchown(db, 999, 999))
	old := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	must(t, os.Chtimes(filepath.Join(db, "conf"), old, old))
	must(t, os.Symlink("/var/lib", filepath.Join(root, "lib"))) // absolute, as in /var/run
	return root
}

// checkFilled checks that dir has what image has at /var/lib/db.
func checkFilled(t *testing.T, dir string) {
	t.Helper()
	stat := func(name string) (st unix.Stat_t) {
		t.Helper()
		must(t, unix.Lstat(filepath.Join(dir, name), &st))
		return st
	}
	if st := stat("."); st.Uid != 999 || st.Gid != 999 || st.Mode&0o7777 != 0o700 {
		t.Errorf("root: owner %d:%d mode %o", st.Uid, st.Gid, st.Mode)
	}
	if st := stat("conf"); st.Mode&0o7777 != 0o2750 || st.Mtim.Sec != time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC).Unix() {
		t.Errorf("directory: mode %o time %v", st.Mode, st.Mtim)
	}
	if st := stat("conf/main.cf"); st.Uid != 999 || st.Gid != 998 || st.Nlink != 2 || st.Ino != stat("hard").Ino {
		t.Errorf("file: owner %d:%d links %d", st.Uid, st.Gid, st.Nlink)
	}
	if st := stat("link"); st.Uid != 7 || st.Gid != 8 {
		t.Errorf("link: owner %d:%d", st.Uid, st.Gid)
	}
	if st := stat("fifo"); st.Mode != unix.S_IFIFO|0o640 {
		t.Errorf("fifo: mode %o", st.Mode)
	}
	if to, _ := os.Readlink(filepath.Join(dir, "absolute")); to != "/etc/passwd" {
		t.Errorf("link to %s", to)
	}
	buf := make([]byte, 10)
	if n, err := unix.Getxattr(filepath.Join(dir, "hard"), "user.note", buf); err != nil || string(buf[:n]) != "hi" {
		t.Errorf("attribute: %q, %v", buf[:max(n, 0)], err)
	}
	if got := read(t, filepath.Join(dir, "link")); got != "setting" {
		t.Errorf("content %q", got)
	}
	names, err := os.ReadDir(dir)
	must(t, err)
	if len(names) != 5 {
		t.Errorf("entries %v", names)
	}
}

func TestFill(t *testing.T) {
	s := open(t)
	root := image(t)
	for i, target := range []string{"/var/lib/db", "var/lib/db/", "/lib/db", "/../../var/lib/db"} {
		path, err := s.Acquire(ctx, holdfast.Volume{Name: fmt.Sprint("v", i)}, "r", FromDir(root, target))
		must(t, err)
		checkFilled(t, path)
	}
	upper := t.TempDir()
	write(t, filepath.Join(upper, "etc/other"), "x")
	path, err := s.Ensure(ctx, holdfast.Volume{Name: "layers"}, FromImage("", []string{upper, root}, "/var/lib/db"))
	must(t, err)
	checkFilled(t, path)
	file := filepath.Join(t.TempDir(), "image.erofs")
	if out, err := exec.Command("mkfs.erofs", file, root).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.erofs: %v\n%s", err, out)
	}
	path, err = s.Ensure(ctx, holdfast.Volume{Name: "erofs"}, FromImage(file, nil, "/var/lib/db"))
	must(t, err)
	checkFilled(t, path)
	path, err = s.Ensure(ctx, holdfast.Volume{Name: "tmpfs", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs"}}, FromDir(root, "/var/lib/db"))
	must(t, err)
	checkFilled(t, path)

	// Only once, not under a user's hands, and only a directory.
	must(t, os.Remove(filepath.Join(path, "link")))
	_, err = s.Ensure(ctx, holdfast.Volume{Name: "tmpfs", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs"}}, FromDir(root, "/var/lib/db"))
	must(t, err)
	if _, err := os.Lstat(filepath.Join(path, "link")); err == nil {
		t.Error("filled again")
	}
	empty, err := s.Acquire(ctx, holdfast.Volume{Name: "empty"}, "r", nil)
	must(t, err)
	for _, target := range []string{"/var/lib/db", "/no/such", "/var/lib/db/conf/main.cf"} {
		if target != "/var/lib/db" {
			must(t, s.Release(ctx, "r"))
		}
		_, err = s.Ensure(ctx, holdfast.Volume{Name: "empty"}, FromDir(root, target))
		must(t, err)
		if names, _ := os.ReadDir(empty); len(names) != 0 {
			t.Errorf("%s: filled with %v", target, names)
		}
	}
}

func TestFillCannotLeaveTheImage(t *testing.T) {
	s := open(t)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret"), "x")
	root := t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(root, "abs")))
	must(t, os.Symlink("../../../../../../.."+outside, filepath.Join(root, "rel")))
	for _, target := range []string{"/abs", "/rel", "../../../../../.." + outside} {
		path, err := s.Ensure(ctx, holdfast.Volume{Name: "v"}, FromDir(root, target))
		must(t, err)
		if names, _ := os.ReadDir(path); len(names) != 0 {
			t.Errorf("%s: filled with %v", target, names)
		}
	}
}

func TestDiskFullDuringFill(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { unmountAll(t, dir) })
	s, err := Open(filepath.Join(dir, "volumes"), nil)
	must(t, err)
	root := t.TempDir()
	write(t, filepath.Join(root, "data/a"), "small")
	write(t, filepath.Join(root, "data/b"), strings.Repeat("large", 1<<20))
	v := holdfast.Volume{Name: "v"}
	if _, err := s.Acquire(ctx, v, "r", FromDir(root, "/data")); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v, want no space left", err)
	}
	if names, err := os.ReadDir(s.data("v")); err != nil || len(names) != 0 {
		t.Errorf("left %v, %v", names, err)
	}
	if info, err := s.Inspect("v"); err != nil || len(info.Users) != 0 {
		t.Errorf("%+v, %v", info, err)
	}
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT, "size=20m"))
	path, err := s.Acquire(ctx, v, "r", FromDir(root, "/data"))
	must(t, err)
	if len(read(t, filepath.Join(path, "b"))) != 5<<20 {
		t.Error("incomplete after there was space")
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

const crashEnv = "HOLDFAST_TEST_CRASH"

// TestCrashChild is the process that the crash tests kill: it stops in the middle of its work and says so.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashEnv)
	if dir == "" {
		t.Skip("only as the child of TestCrashDuringFill")
	}
	s, err := Open(dir, nil)
	must(t, err)
	_, err = s.Ensure(ctx, holdfast.Volume{Name: "v"}, func(_ context.Context, dir string) error {
		write(t, filepath.Join(dir, "half"), "x")
		fmt.Println("half way")
		select {} // until killed
	})
	t.Fatal(err)
}

func TestCrashDuringFill(t *testing.T) {
	s := open(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashEnv+"="+s.dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, _ := bufio.NewReader(out).ReadString('\n')
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if line != "half way\n" {
		t.Fatalf("the child said %q", line)
	}
	if _, err := os.Stat(filepath.Join(s.data("v"), filling, "half")); err != nil {
		t.Fatalf("the child left nothing: %v", err)
	}
	s, err = Open(s.dir, nil)
	must(t, err)
	path, err := s.Ensure(ctx, holdfast.Volume{Name: "v"}, FromDir(image(t), "/var/lib/db"))
	must(t, err)
	checkFilled(t, path)
}

// A crash between the entries' moves is completed, also by a replica that wants no filling.
func TestCrashAfterFill(t *testing.T) {
	s := open(t)
	path, err := s.Ensure(ctx, holdfast.Volume{Name: "v"}, nil)
	must(t, err)
	tmp := filepath.Join(path, filled)
	must(t, os.Mkdir(tmp, 0o755))
	must(t, copyTree(ctx, filepath.Join(image(t), "var/lib/db"), tmp))
	must(t, os.Rename(filepath.Join(tmp, "hard"), filepath.Join(path, "hard")))
	path, err = s.Ensure(ctx, holdfast.Volume{Name: "v"}, nil)
	must(t, err)
	checkFilled(t, path)
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

// Two replicas start at once on one volume: it is filled once, and both see it full.
func TestConcurrentAcquire(t *testing.T) {
	s := open(t)
	root := image(t)
	errs := make(chan error)
	for i := range 8 {
		go func() {
			_, err := s.Acquire(ctx, holdfast.Volume{Name: "v"}, fmt.Sprint("r", i), FromDir(root, "/var/lib/db"))
			errs <- err
		}()
	}
	for range 8 {
		must(t, <-errs)
	}
	checkFilled(t, s.data("v"))
	if info, err := s.Inspect("v"); err != nil || len(info.Users) != 8 {
		t.Errorf("%+v, %v", info, err)
	}
}
