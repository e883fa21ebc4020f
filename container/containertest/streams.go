package containertest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

var streamTests = []contractTest{
	{"log", nil, testLog},
	{"log-long-line", []Feature{Kernel}, testLogLongLine},
	{"log-none", nil, testLogNone},
	{"log-rotation", []Feature{Rotation}, testLogRotation},
	{"log-all", nil, testLogAll},
	{"stdin-empty", nil, testStdinEmpty},
	{"attach", nil, testAttach},
	{"attach-stdin", []Feature{Stdin}, testAttachStdin},
	{"attach-close", nil, testAttachClose},
	{"terminal", []Feature{Terminal}, testTerminal},
	{"exec", nil, testExec},
	{"exec-streams", nil, testExecStreams},
	{"exec-signal", nil, testExecSignal},
	{"exec-close", nil, testExecClose},
	{"exec-inside", []Feature{Kernel}, testExecInside},
	{"exec-user", []Feature{Kernel}, testExecUser},
	{"exec-missing", []Feature{Kernel}, testExecMissing},
	{"exec-terminal", []Feature{Terminal}, testExecTerminal},
}

func itoa(n int) string { return strconv.Itoa(n) }

func testLog(h *harness) {
	before := time.Now().Add(-time.Second)
	id := h.start([]string{"print", "one\ntwo\n", "three"}).ID
	h.exited(id)
	var out []string
	for _, e := range h.entries(id) {
		out = append(out, fmt.Sprint(e.Stream, " ", e.Text, " ", e.Partial))
		if e.Time.Before(before) || e.Time.After(time.Now().Add(time.Second)) {
			h.Errorf("time of a line: %v", e.Time)
		}
	}
	for _, want := range []string{"stdout one false", "stdout two false", "stderr three true"} {
		if !strings.Contains(strings.Join(out, "\n"), want) {
			h.Errorf("log lacks %q: %q", want, out)
		}
	}
	equal(h, "lines", len(out), 3)
}

func testLogLongLine(h *harness) {
	long := strings.Repeat("0123456789", 20_000)
	path := h.file("long", long+"\n")
	id := h.start([]string{"read", "/run/long"}, bind(path, "/run/long", "ro")).ID
	h.exited(id)
	equal(h, "text", h.log(id), long+"\n")
}

func testLogNone(h *harness) {
	code, _ := h.run([]string{"lines", "1000"}, func(s *container.Spec) { s.Log = container.Log{} })
	equal(h, "exit code", code, 0)
}

func testLogRotation(h *harness) {
	id := h.start([]string{"lines", "5000"}, func(s *container.Spec) { s.Log.MaxBytes, s.Log.MaxFiles = 16<<10, 3 }).ID
	h.exited(id)
	files, err := filepath.Glob(filepath.Join(h.dir, id+".log*"))
	must(h, err)
	equal(h, "files", len(files), 3)
	for _, f := range files {
		info, err := os.Stat(f)
		must(h, err)
		if info.Size() > 20<<10 {
			h.Errorf("%s has %d bytes", f, info.Size())
		}
	}
	entries := h.entries(id)
	equal(h, "last line", entries[len(entries)-1].Text, "line 4999")
}

func testLogAll(h *harness) {
	id := h.start([]string{"lines", "20000"}).ID
	h.exited(id)
	entries := h.entries(id)
	equal(h, "lines at the time of the exit", len(entries), 20000)
	for i, e := range entries {
		if e.Text != fmt.Sprint("line ", i) {
			h.Fatalf("line %d is %q", i, e.Text)
		}
	}
}

func testStdinEmpty(h *harness) {
	code, out := h.run([]string{"cat"})
	equal(h, "exit code", code, 0)
	equal(h, "output", out, "")
}

func testAttach(h *harness) {
	id := h.start([]string{"catch", "3"}).ID
	h.says(id, "ready")
	conn, err := h.rt.Attach(h.Context(), id)
	must(h, err)
	if conn.Stdin() != nil {
		h.Error("a container without standard input has one")
	}
	must(h, h.rt.Signal(h.Context(), id, syscall.SIGHUP))
	first := make([]byte, len("caught 1\n"))
	_, err = io.ReadFull(conn.Stdout(), first)
	must(h, err)
	must(h, conn.Signal(syscall.SIGTERM))
	rest, err := io.ReadAll(conn.Stdout())
	must(h, err)
	equal(h, "output since", string(first)+string(rest), "caught 1\ncaught 15\n")
	code, err := conn.Wait()
	must(h, err)
	equal(h, "exit code", code, 3)
	must(h, conn.Close())
}

func testAttachStdin(h *harness) {
	id := h.start([]string{"cat"}, func(s *container.Spec) { s.Stdin = true }).ID
	conn, err := h.rt.Attach(h.Context(), id)
	must(h, err)
	_, err = io.WriteString(conn.Stdin(), "hello\n")
	must(h, err)
	line := make([]byte, 6)
	_, err = io.ReadFull(conn.Stdout(), line)
	must(h, err)
	equal(h, "echo", string(line), "hello\n")
	must(h, conn.Stdin().Close())
	equal(h, "exit code", h.exited(id).ExitCode, 0)
	equal(h, "log", h.log(id), "hello\n")
	must(h, conn.Close())
}

func testAttachClose(h *harness) {
	id := h.start([]string{"catch", "0"}).ID
	for range 3 {
		conn, err := h.rt.Attach(h.Context(), id)
		must(h, err)
		must(h, conn.Close())
	}
	h.says(id, "ready")
	equal(h, "phase", h.list()[id].Phase, container.Running)
}

func testTerminal(h *harness) {
	id := h.start([]string{"resized", "33"}, func(s *container.Spec) {
		s.Stdin, s.OCI.Process.Terminal, s.OCI.Process.ConsoleSize = true, true, nil
	}).ID
	h.says(id, "ready")
	conn, err := h.rt.Attach(h.Context(), id)
	must(h, err)
	if conn.Stderr() != nil {
		h.Error("a terminal has no standard error of its own")
	}
	must(h, conn.Resize(33, 99))
	out, err := io.ReadAll(conn.Stdout())
	must(h, err)
	if !strings.Contains(string(out), "terminal 33 99 /dev/") {
		h.Errorf("output %q", out)
	}
	must(h, conn.Close())
	equal(h, "exit code", h.exited(id).ExitCode, 0)
}

// exec runs the suite's program in a container to its end.
func (h *harness) exec(id string, spec container.ExecSpec) (code int, stdout, stderr string) {
	h.Helper()
	spec.Args = append([]string{"/bin/prog"}, spec.Args...)
	p, err := h.rt.Exec(h.Context(), id, spec)
	must(h, err)
	must(h, p.Stdin().Close())
	out, err := io.ReadAll(p.Stdout())
	must(h, err)
	var errs []byte
	if p.Stderr() != nil {
		errs, err = io.ReadAll(p.Stderr())
		must(h, err)
	}
	code, err = p.Wait()
	must(h, err)
	must(h, p.Close())
	return code, string(out), string(errs)
}

func testExec(h *harness) {
	id := h.start([]string{"sleep"}).ID
	code, out, errs := h.exec(id, container.ExecSpec{Args: []string{"print", "to out", "to err"}})
	if code != 0 || out != "to out" || errs != "to err" {
		h.Errorf("%d %q %q", code, out, errs)
	}
	code, _, _ = h.exec(id, container.ExecSpec{Args: []string{"exit", "42"}})
	equal(h, "exit code", code, 42)
	_, out, _ = h.exec(id, container.ExecSpec{Args: []string{"env", "EXTRA"}, Env: []string{"EXTRA=yes"}})
	equal(h, "environment", out, "yes\n")
	equal(h, "phase of the container", h.list()[id].Phase, container.Running)
	if strings.Contains(h.log(id), "to out") {
		h.Error("the output of exec is in the container's log")
	}
	if _, err := h.rt.Exec(h.Context(), id, container.ExecSpec{}); holdfast.KindOf(err) != holdfast.ErrInvalid {
		h.Errorf("exec of nothing: %v", err)
	}
}

func testExecStreams(h *harness) {
	id := h.start([]string{"sleep"}).ID
	p, err := h.rt.Exec(h.Context(), id, container.ExecSpec{Args: []string{"/bin/prog", "cat"}})
	must(h, err)
	text := strings.Repeat("some text\n", 50_000)
	go func() {
		defer p.Stdin().Close()
		_, _ = io.WriteString(p.Stdin(), text) // what is lost shows in what comes back
	}()
	out, err := io.ReadAll(p.Stdout())
	must(h, err)
	equal(h, "bytes", len(out), len(text))
	code, err := p.Wait()
	must(h, err)
	equal(h, "exit code", code, 0)
	must(h, p.Close())
}

func testExecSignal(h *harness) {
	id := h.start([]string{"sleep"}).ID
	p, err := h.rt.Exec(h.Context(), id, container.ExecSpec{Args: []string{"/bin/prog", "catch", "5"}})
	must(h, err)
	ready := make([]byte, len("ready\n"))
	_, err = io.ReadFull(p.Stdout(), ready)
	must(h, err)
	must(h, p.Signal(syscall.SIGTERM))
	_, err = io.Copy(io.Discard, p.Stdout())
	must(h, err)
	code, err := p.Wait()
	must(h, err)
	equal(h, "exit code", code, 5)
	must(h, p.Close())
}

func testExecClose(h *harness) {
	id := h.start([]string{"sleep"}).ID
	p, err := h.rt.Exec(h.Context(), id, container.ExecSpec{Args: []string{"/bin/prog", "ignore"}})
	must(h, err)
	ready := make([]byte, len("ready\n"))
	_, err = io.ReadFull(p.Stdout(), ready)
	must(h, err)
	must(h, p.Close())
	if _, missing := h.cfg.Missing[Kernel]; missing {
		return
	}
	h.eventually("the process is gone", func() bool {
		_, out, _ := h.exec(id, container.ExecSpec{Args: []string{"list", "/proc"}})
		n := 0
		for line := range strings.Lines(out) {
			if strings.TrimSpace(line)[0] <= '9' {
				n++
			}
		}
		return n == 2 // the container's and the listing
	})
}

func testExecInside(h *harness) {
	id := h.start([]string{"sleep"}, func(s *container.Spec) {
		s.OCI.Hostname = "inside"
		s.OCI.Process.Env = append(s.OCI.Process.Env, "OWN=1")
	}).ID
	_, out, _ := h.exec(id, container.ExecSpec{Args: []string{"hostname"}})
	equal(h, "hostname", out, "inside\n")
	_, out, _ = h.exec(id, container.ExecSpec{Args: []string{"env", "OWN"}})
	equal(h, "the container's environment", out, "1\n")
	_, out, _ = h.exec(id, container.ExecSpec{Args: []string{"cwd"}, WorkingDir: "/data"})
	equal(h, "directory", out, "/data\n")
	container := h.output([]string{"status", "CapEff", "CapBnd", "Seccomp", "NoNewPrivs"})
	_, out, _ = h.exec(id, containerExec("status", "CapEff", "CapBnd", "Seccomp", "NoNewPrivs"))
	equal(h, "privileges", out, container)
	_, out, _ = h.exec(id, containerExec("fds"))
	equal(h, "open files", strings.Count(out, "\n"), 3)
	stats, err := h.rt.Stats(h.Context(), id)
	must(h, err)
	if stats.PIDs < 1 {
		h.Errorf("%+v", stats)
	}
}

func containerExec(args ...string) container.ExecSpec { return container.ExecSpec{Args: args} }

func testExecUser(h *harness) {
	id := h.start([]string{"sleep"}).ID
	for user, want := range map[string]string{
		"": "0 0 ", "app": "1000 1001 ", "1000": "1000 1001 ", "1000:7": "1000 7 ", "app:extra": "1000 2000 ", "4444": "4444 0 ",
	} {
		_, out, errs := h.exec(id, container.ExecSpec{Args: []string{"user"}, User: user})
		if !strings.HasPrefix(out, want) {
			h.Errorf("user %q: %q %q, want %q", user, out, errs, want)
		}
	}
}

func testExecMissing(h *harness) {
	id := h.start([]string{"sleep"}).ID
	p, err := h.rt.Exec(h.Context(), id, container.ExecSpec{Args: []string{"/bin/nothing"}})
	if err == nil {
		_, _ = io.Copy(io.Discard, p.Stdout())
		code, werr := p.Wait()
		must(h, p.Close())
		h.Fatalf("exec of a missing program started: %d, %v", code, werr)
	}
	if !strings.Contains(err.Error(), "/bin/nothing") || holdfast.KindOf(err) == nil {
		h.Errorf("%v (kind %v), want an error that names the program", err, holdfast.KindOf(err))
	}
	equal(h, "phase of the container", h.list()[id].Phase, container.Running)
}

func testExecTerminal(h *harness) {
	id := h.start([]string{"sleep"}).ID
	p, err := h.rt.Exec(h.Context(), id, container.ExecSpec{Args: []string{"/bin/prog", "resized", "44"}, TTY: true, Rows: 20, Cols: 70})
	must(h, err)
	if p.Stderr() != nil {
		h.Error("a terminal has no standard error of its own")
	}
	buf := make([]byte, len("ready"))
	_, err = io.ReadFull(p.Stdout(), buf)
	must(h, err)
	must(h, p.Resize(44, 88))
	out, err := io.ReadAll(p.Stdout())
	must(h, err)
	if !strings.Contains(string(out), "terminal 44 88 /dev/") {
		h.Errorf("output %q", out)
	}
	code, err := p.Wait()
	must(h, err)
	equal(h, "exit code", code, 0)
	must(h, p.Close())
	// Its size from the start.
	p, err = h.rt.Exec(h.Context(), id, container.ExecSpec{Args: []string{"/bin/prog", "terminal"}, TTY: true, Rows: 20, Cols: 70})
	must(h, err)
	out, err = io.ReadAll(p.Stdout())
	must(h, err)
	if !strings.Contains(string(out), "terminal 20 70 /dev/") {
		h.Errorf("output %q", out)
	}
	must(h, p.Close())
}
