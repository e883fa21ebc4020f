//go:build linux

package supervisor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/logs"
)

// populate starts one container of each kind that can suffer from the supervisor's death.
func (w *world) populate() {
	w.start("tick", nil, "tick")
	w.start("later", nil, "catch", "7")
	w.start("meanwhile", nil, "catch", "8")
	w.start("init", func(s *container.Spec) { s.Init = true }, "catch", "9")
	w.start("stdin", func(s *container.Spec) { s.Stdin = true }, "cat")
	w.start("terminal", func(s *container.Spec) { s.OCI.Process.Terminal = true }, "resized", "21", "43")
	w.start("ended", nil, "exit", "6")
	for _, id := range []string{"later", "meanwhile", "init", "terminal"} {
		w.says(id, "ready")
	}
	w.says("tick", "3")
	w.exited("ended")
}

// check looks at what populate started, after the supervisor was replaced. before are its statuses before that.
func (w *world) check(before map[string]container.Status) {
	w.Helper()
	for _, id := range []string{"tick", "later", "init", "stdin", "terminal"} {
		if now := w.status(id); now.Phase != container.Running || now.PID != before[id].PID || !now.Started.Equal(before[id].Started) {
			w.Errorf("before %+v\nnow %+v", before[id], now)
		}
	}
	if code := w.exited("ended").ExitCode; code != 6 {
		w.Errorf("exit code of what had ended before: %d", code)
	}
	n := len(w.lines("tick"))
	w.eventually("the log grows", func() bool { return len(w.lines("tick")) > n+2 })
	for i, line := range w.lines("tick") {
		if line != fmt.Sprint(i) {
			w.Fatalf("line %d is %q: output was lost", i, line)
		}
	}
	for id, code := range map[string]int{"later": 7, "init": 9} {
		w.signal(before[id].PID, unix.SIGTERM)
		if got := w.exited(id).ExitCode; got != code {
			w.Errorf("exit code of %s: %d, want %d", id, got, code)
		}
	}
	w.checkStreams()
}

func (w *world) checkStreams() {
	w.Helper()
	conn, err := w.c.Attach(w.Context(), "stdin")
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn.Stdin(), "hello\n"); err != nil {
		w.Fatal(err)
	}
	w.says("stdin", "hello")
	if err := conn.Stdin().Close(); err != nil {
		w.Fatal(err)
	}
	if code := w.exited("stdin").ExitCode; code != 0 {
		w.Errorf("exit code of stdin: %d", code)
	}
	tty, err := w.c.Attach(w.Context(), "terminal")
	if err != nil {
		w.Fatal(err)
	}
	defer tty.Close()
	if err := tty.Resize(21, 43); err != nil {
		w.Fatal(err)
	}
	w.exited("terminal")
	if all := strings.Join(w.lines("terminal"), "\n"); !strings.Contains(all, "terminal 21 43") {
		w.Errorf("terminal: %q", all)
	}
}

func (w *world) statuses() map[string]container.Status {
	list, err := w.c.List(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	byID := map[string]container.Status{}
	for _, s := range list {
		byID[s.ID] = s
	}
	return byID
}

// TestKilled: containers outlive a supervisor that was killed, and the next one knows all about them.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	w.populate()
	sandbox, err := w.c.Park(t.Context(), container.ParkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := w.statuses()
	old := w.c
	watched, err := old.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for s := <-watched; s.ID != "tick"; s = <-watched {
	}
	first := w.pid()
	w.end(first, unix.SIGKILL)
	meanwhile, err := unix.PidfdOpen(before["meanwhile"].PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(meanwhile)
	w.end(before["meanwhile"].PID, unix.SIGTERM)
	w.up()
	if w.pid() == first {
		t.Fatal("the supervisor was not killed")
	}
	w.check(before)
	if code := w.exited("meanwhile").ExitCode; code != 8 {
		t.Errorf("exit code of what ended with no supervisor: %d", code)
	}
	if s := w.status(sandbox.ID); s.Phase != container.Parked {
		t.Errorf("sandbox: %+v", s)
	}
	for s := range watched { // the old client's, after the new supervisor's list
		if s.ID == "later" && s.Phase == container.Exited && s.ExitCode == 7 {
			break
		}
	}
}

// TestUpgrade: the supervisor replaces its program and stays the same process.
func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	w.populate()
	before := w.statuses()
	pid := w.pid()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.c.Upgrade(t.Context(), filepath.Join(w.dir, "missing")); err == nil {
		t.Error("upgrade to nothing succeeded")
	}
	binary := filepath.Join(w.dir, "new")
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, data, 0o755); err != nil {
		t.Fatal(err)
	}
	was, err := w.c.hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.c.Upgrade(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	now, err := w.c.hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if now.PID != pid || now.Binary == was.Binary {
		t.Errorf("before %+v, now %+v", was, now)
	}
	w.check(before)
	w.signal(before["meanwhile"].PID, unix.SIGTERM)
	if code := w.exited("meanwhile").ExitCode; code != 8 {
		t.Errorf("exit code: %d", code)
	}
	// EnsureRunning brings it back to this test's build.
	w.up()
	if last, err := w.c.hello(t.Context()); err != nil || last.PID != pid || last.Binary != was.Binary {
		t.Errorf("ensured %+v, %v", last, err)
	}
}

// TestReboot: what ran in another boot of the machine has ended, and nothing of it is left.
func TestReboot(t *testing.T) {
	w := newWorld(t)
	w.start("lost", nil, "sleep")
	w.start("ended", nil, "exit", "6")
	w.exited("ended")
	lost := w.status("lost")
	w.end(w.pid(), unix.SIGKILL)
	w.end(lost.PID, unix.SIGKILL)
	w.cfg.Runtime.BootID = "another"
	w.up()
	if s := w.status("lost"); s.Phase != container.Exited || s.ExitCode != 255 || s.Finished.IsZero() {
		t.Errorf("%+v", s)
	}
	if s := w.status("ended"); s.ExitCode != 6 {
		t.Errorf("%+v", s)
	}
	for _, pattern := range []string{"/sys/fs/cgroup" + w.cfg.Runtime.CgroupParent + "/sb-*", "/sys/fs/cgroup/*" + w.cfg.Runtime.CgroupParent + "/sb-*",
		filepath.Join(w.cfg.Runtime.RunDir, "pipes", "*"), filepath.Join(w.cfg.Runtime.RunDir, "boxes", "*"),
		filepath.Join(w.cfg.Runtime.Dir, "*", "upper")} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	w.start("next", nil, "exit", "5")
	if code := w.exited("next").ExitCode; code != 5 {
		t.Errorf("exit code %d", code)
	}
}

// TestFullDisk: a log that cannot be written holds nobody up, and says afterwards what is missing.
func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	disk := filepath.Join(w.dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("small", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(disk, unix.MNT_DETACH)
	fill := filepath.Join(disk, "fill")
	if err := os.WriteFile(fill, make([]byte, 60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(disk, "log")
	w.start("lines", func(s *container.Spec) { s.Log.Path = path }, "lines", "20000")
	if s := w.exited("lines"); s.ExitCode != 0 {
		t.Errorf("%+v", s)
	}
	w.start("tick", func(s *container.Spec) { s.Log.Path = path }, "tick")
	w.eventually("the disk has room again and the loss is told", func() bool {
		if err := os.Truncate(fill, 0); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(readLog(t, path), func(e logs.Entry) bool { return e.Stream == "stdout" && e.Text == "3" })
	})
	for _, e := range readLog(t, path) {
		if !strings.HasPrefix(e.Text, "line ") && !strings.HasPrefix(e.Text, "holdfast: ") && len(e.Text) > 4 {
			t.Errorf("torn entry %q", e.Text)
		}
	}
}

func readLog(t *testing.T, path string) (list []logs.Entry) {
	t.Helper()
	for e, err := range logs.Read(t.Context(), path, logs.Options{Tail: -1}) {
		if err != nil {
			return nil
		}
		list = append(list, e)
	}
	return list
}
