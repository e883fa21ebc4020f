//go:build linux

package linux

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container/linux/initproc"
)

// newZygote returns a zygote without a runtime.
func newZygote(t *testing.T) *zygote {
	t.Helper()
	self, err := newSelfImage()
	if err != nil {
		t.Fatal(err)
	}
	z := &zygote{self: self, sock: -1}
	t.Cleanup(z.close)
	return z
}

func spawn(t *testing.T, z *zygote, address string) *child {
	t.Helper()
	c, err := z.spawn(0, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.pidfd >= 0 {
			c.reap()
		}
	})
	return c
}

// TestProgram: calls, pointers, registers, and what goes on after which error.
func TestProgram(t *testing.T) {
	c := spawn(t, newZygote(t), "")
	dir := t.TempDir()
	var p program
	file := p.str(filepath.Join(dir, "file"))
	p.do("open nothing", unix.SYS_OPENAT, unix.AT_FDCWD, p.str(filepath.Join(dir, "nothing")), unix.O_RDONLY, 0).Okay = int32(unix.ENOENT)
	ignored := p.do("open nothing", unix.SYS_OPENAT, unix.AT_FDCWD, p.str(filepath.Join(dir, "nothing")), unix.O_RDONLY, 0)
	ignored.Flags, ignored.Dst = initproc.IgnoreError|initproc.MinusOne, 20
	p.do("open", unix.SYS_OPENAT, unix.AT_FDCWD, file, unix.O_CREAT|unix.O_WRONLY, 0o600).Dst = 21
	text := "hello"
	p.do("write", unix.SYS_WRITE, reg(21), p.str(text), len(text)).Skip = 1
	p.do("never", unix.SYS_EXIT_GROUP, 9)
	// struct iovec, with a pointer in memory
	iov := p.space(16)
	p.pointer(iov, p.str(" again"))
	p.image[iov+8] = 6
	p.do("write vector", unix.SYS_WRITEV, reg(21), iov, 1)
	p.do("answer", initproc.OpAnswer)
	answer, err := p.run(c.ctl)
	if err != nil || answer.gone {
		t.Fatalf("%+v, %v", answer, err)
	}
	if answer.registers[20] != -1 || answer.registers[21] < initproc.FirstFree {
		t.Errorf("registers %v", answer.registers)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(got) != "hello again" {
		t.Errorf("%q, %v", got, err)
	}
	// Files that come with a program, in one that fails.
	f, err := os.Create(filepath.Join(dir, "passed"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var q program
	q.do("write", unix.SYS_WRITE, reg(1), q.str("passed"), 6)
	q.do("enter nothing", unix.SYS_CHDIR, q.str(filepath.Join(dir, "nothing")))
	q.do("write", unix.SYS_WRITE, reg(1), q.str("too far"), 7)
	_, err = q.run(c.ctl, int(f.Fd()))
	if !errors.Is(err, syscall.ENOENT) || !strings.HasPrefix(err.Error(), "enter nothing: ") {
		t.Errorf("%v", err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != "passed" {
		t.Errorf("%q, %v", got, err)
	}
	if code := c.wait(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// TestProgramTry: the first file that can be executed is; a denied one is remembered.
func TestProgramTry(t *testing.T) {
	z := newZygote(t)
	dir := t.TempDir()
	denied := filepath.Join(dir, "denied")
	if err := os.WriteFile(denied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		files []string
		want  error
		code  int
	}{
		{[]string{"/nothing", denied, "/bin/true"}, nil, 0},
		{[]string{"/nothing", "/bin/false"}, nil, 1},
		{[]string{"/nothing", denied, "/nothing"}, syscall.EACCES, 1},
		{[]string{"/nothing", "/bin/true/x"}, syscall.ENOENT, 1},
	} {
		c := spawn(t, z, "")
		var p program
		l := &launch{args: []string{"x"}}
		for _, file := range tc.files {
			p.do("execute "+file, unix.SYS_EXECVE, p.str(file), p.strs(l.args), p.strs(nil)).Flags = initproc.Try
		}
		p.do("execute", initproc.OpFail, int(unix.ENOENT))
		answer, err := p.run(c.ctl)
		if !errors.Is(err, tc.want) || answer.gone != (tc.want == nil) {
			t.Errorf("%v: %+v, %v", tc.files, answer.gone, err)
		}
		if code := c.wait(); code != tc.code {
			t.Errorf("%v: exit code %d", tc.files, code)
		}
	}
}

// TestChildOutlivesConnection: a child that listens takes programs from one runtime after the other.
func TestChildOutlivesConnection(t *testing.T) {
	z := newZygote(t)
	address := filepath.Join(t.TempDir(), strings.Repeat("long", 40), "sock")
	if err := os.MkdirAll(filepath.Dir(address), 0o700); err != nil {
		t.Fatal(err)
	}
	c := spawn(t, z, address)
	for i := range 3 {
		var p program
		p.do("get pid", unix.SYS_GETPID).Dst = 20
		p.do("answer", initproc.OpAnswer)
		answer, err := p.run(c.ctl)
		if err != nil || int(answer.registers[20]) != c.pid {
			t.Fatalf("%d: %+v, %v", i, answer, err)
		}
		unix.Close(c.ctl)
		if c.ctl, err = connectControl(address); err != nil {
			t.Fatal(err)
		}
	}
	alone := spawn(t, z, "")
	unix.Close(alone.ctl)
	alone.ctl = -1
	if code := alone.wait(); code != 0 {
		t.Errorf("a child without a listener ended with %d", code)
	}
}

// TestZygoteRestarts: a zygote that died is replaced.
func TestZygoteRestarts(t *testing.T) {
	z := newZygote(t)
	first := spawn(t, z, "")
	if err := z.proc.Kill(); err != nil {
		t.Fatal(err)
	}
	second := spawn(t, z, "")
	for _, c := range []*child{first, second} {
		var p program
		p.do("answer", initproc.OpAnswer)
		if answer, err := p.run(c.ctl); err != nil || answer.gone {
			t.Errorf("%+v, %v", answer, err)
		}
	}
}

// TestSelfImage: nobody can write to the binary that children run from, root included.
func TestSelfImage(t *testing.T) {
	for name, make := range map[string]func() (*selfImage, error){"overlay": overlaySelf, "memfd": memfdSelf} {
		self, err := make()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		z := &zygote{self: self, sock: -1}
		c := spawn(t, z, "")
		exe := "/proc/" + strconv.Itoa(c.pid) + "/exe"
		for _, path := range []string{exe, self.path()} {
			for _, flag := range []int{os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC} {
				f, err := os.OpenFile(path, flag, 0)
				if err == nil {
					if _, err = f.Write([]byte("x")); err == nil {
						t.Errorf("%s: wrote to %s", name, path)
					}
					f.Close()
				}
			}
		}
		if err := unix.Chmod(exe, 0o777); err == nil && name == "overlay" {
			t.Errorf("%s: changed the mode of %s", name, exe)
		}
		c.reap()
		z.close()
	}
}

// TestBinaryReplaced: a zygote that is started after an upgrade on disk still is of the running build.
func TestBinaryReplaced(t *testing.T) {
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "binary")
	if err := os.WriteFile(binary, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	z := &zygote{self: &selfImage{fd: fd, file: "binary"}, sock: -1} // of another time than ours
	defer z.close()
	c := spawn(t, z, "")
	if link, err := os.Readlink("/proc/" + strconv.Itoa(c.pid) + "/exe"); err != nil || !strings.HasPrefix(link, "/memfd:") {
		t.Errorf("the child runs %q, %v", link, err)
	}
}
