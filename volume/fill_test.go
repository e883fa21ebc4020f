package volume

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

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
	layers := []string{upper}
	for i := range 10 {
		layers = append(layers, filepath.Join(t.TempDir(), fmt.Sprint("a:long,name of layer ", i)))
		must(t, os.Mkdir(layers[i+1], 0o755))
	}
	path, err := s.Ensure(ctx, holdfast.Volume{Name: "layers"}, FromImage("", append(layers, root), "/var/lib/db"))
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
