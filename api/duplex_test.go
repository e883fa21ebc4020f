package api_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/apitest"
	"github.com/holdfast/holdfast/container"
)

// withReplica starts an agent with one replica, shop-web-1.
func withReplica(t *testing.T) *apitest.Agent {
	t.Helper()
	a := apitest.Start(t)
	a.Put(t, &holdfast.App{Name: "shop"}, &holdfast.Service{App: "shop", Name: "web", Release: 1},
		&holdfast.Replica{ID: "shop-web-1", App: "shop", Service: "web", Release: 1, Slot: 1, Node: "n1", Desired: holdfast.Run})
	return a
}

func start(t *testing.T, a *apitest.Agent, spec container.ExecSpec) container.Exec {
	t.Helper()
	p, err := a.Client.Exec(t.Context(), "shop-web-1", spec)
	check(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

func sh(script string) container.ExecSpec {
	return container.ExecSpec{Args: []string{"sh", "-c", script}}
}

func TestExecErrors(t *testing.T) {
	a := withReplica(t)
	for _, tt := range []struct {
		replica string
		args    []string
		kind    error
		text    string
	}{
		{"shop-web-2", []string{"true"}, holdfast.ErrNotFound, `no replica "shop-web-2": did you mean shop-web-1?`},
		{"shop-web-1", nil, holdfast.ErrInvalid, "exec without a command"},
		{"shop-web-1", []string{"absent"}, holdfast.ErrNotFound, `replica shop-web-1 has no program "absent"`},
		{"shop-web-1", []string{"absent"}, api.ErrNoProgram, `replica shop-web-1 has no program "absent"`},
		{"shop-web-1", []string{"/etc"}, api.ErrNotExecutable, `replica shop-web-1 cannot execute "/etc": permission denied`},
	} {
		_, err := a.Client.Exec(t.Context(), tt.replica, container.ExecSpec{Args: tt.args})
		if !errors.Is(err, tt.kind) || err.Error() != tt.text {
			t.Errorf("exec %v in %s: %v", tt.args, tt.replica, err)
		}
	}
}

func TestExecMuchInput(t *testing.T) {
	p := start(t, withReplica(t), sh("sleep 0.05; wc -c"))
	const n = 3 << 20 // many times the window
	go func() {
		_, _ = p.Stdin().Write(make([]byte, n))
		_ = p.Stdin().Close()
	}()
	if out, _, _ := drain(t, p); strings.TrimSpace(out) != fmt.Sprint(n) {
		t.Errorf("the process read %q", out)
	}
}

// TestExecSignalPassesInput: a process that does not read must still get signals, however much input waits.
func TestExecSignalPassesInput(t *testing.T) {
	p := start(t, withReplica(t), sh(`trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done`))
	ready := make([]byte, 6)
	_, err := io.ReadFull(p.Stdout(), ready)
	check(t, err)
	written := make(chan error, 1)
	go func() {
		_, err := p.Stdin().Write(make([]byte, 1<<20))
		written <- err
	}()
	check(t, p.Signal(syscall.SIGTERM))
	if code, err := p.Wait(); err != nil || code != 9 {
		t.Errorf("exit code %d, %v", code, err)
	}
	if err := <-written; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the write that waited for room: %v", err)
	}
}

func TestExecTerminal(t *testing.T) {
	p := start(t, withReplica(t), container.ExecSpec{Args: []string{"sh", "-c", "stty size; read x; stty size; exit 4"}, TTY: true, Rows: 20, Cols: 70})
	if p.Stderr() != nil {
		t.Error("a terminal has no stream of errors")
	}
	out := bufio.NewReader(p.Stdout())
	if line, err := out.ReadString('\n'); err != nil || strings.TrimSpace(line) != "20 70" {
		t.Errorf("size is %q, %v", line, err)
	}
	check(t, p.Resize(33, 133))
	_, err := io.WriteString(p.Stdin(), "\n")
	check(t, err)
	rest, _ := io.ReadAll(out)
	if !strings.Contains(string(rest), "33 133") {
		t.Errorf("after a resize: %q", rest)
	}
	if code, err := p.Wait(); err != nil || code != 4 {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestExecCallerLeaves(t *testing.T) {
	a := withReplica(t)
	p := start(t, a, sh("echo ready; exec sleep 1000"))
	_, err := p.Stdout().Read(make([]byte, 6))
	check(t, err)
	check(t, p.Close())
	eventually(t, "the process is closed", func() bool { return a.Processes.Closed() > 0 })
}

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestExecBadFrame(t *testing.T) {
	a := withReplica(t)
	conn, err := net.Dial("unix", a.Socket)
	check(t, err)
	defer conn.Close()
	body := `{"args":["sleep","1000"]}`
	fmt.Fprintf(conn, "POST /v1/replicas/shop-web-1/exec HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", api.Protocol, len(body), body)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	check(t, err)
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != api.Protocol {
		t.Fatalf("answer is %s %v", resp.Status, resp.Header)
	}
	_, err = conn.Write([]byte{77, 0, 0, 0, 0})
	check(t, err)
	text, err := io.ReadAll(r)
	check(t, err)
	if !bytes.Contains(text, []byte("frame of unknown type 77")) {
		t.Errorf("the caller was told %q", text)
	}
	eventually(t, "the process is closed", func() bool { return a.Processes.Closed() > 0 })
}

// TestServerStops: streams and connections end with the server, and the server ends with them.
func TestServerStops(t *testing.T) {
	a := withReplica(t)
	srv, err := api.New(a.Config())
	check(t, err)
	l, err := api.Listen(filepath.Join(t.TempDir(), "s"))
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	c := api.Dial(l.Addr().String())
	defer c.Close()
	p, err := c.Exec(t.Context(), "shop-web-1", sh("exec sleep 1000"))
	check(t, err)
	watched := make(chan error, 1)
	go func() {
		for _, err := range c.WatchApp(t.Context(), "shop", 0) {
			if err != nil {
				watched <- err
				return
			}
			cancel() // once the watch is there
		}
		watched <- nil
	}()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
	<-watched
	if _, err := p.Wait(); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("exec of a stopped agent: %v", err)
	}
	if _, err := c.Info(t.Context()); !errors.Is(err, holdfast.ErrUnavailable) || err.Error() != "no agent answers on "+c.Socket() {
		t.Errorf("info of a stopped agent: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run", "api.sock")
	l, err := api.Listen(path)
	check(t, err)
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket is %o", info.Mode().Perm())
	}
	if _, err := api.Listen(path); !errors.Is(err, holdfast.ErrConflict) || !strings.Contains(err.Error(), "another agent answers on") {
		t.Errorf("second listener: %v", err)
	}
	// What a killed agent leaves: a socket that nobody answers on.
	check(t, l.Close())
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	check(t, err)
	stale.SetUnlinkOnClose(false)
	check(t, stale.Close())
	l, err = api.Listen(path)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	check(t, l.Close())
	file := filepath.Join(dir, "file")
	check(t, os.WriteFile(file, []byte("keep"), 0o644))
	if _, err := api.Listen(file); !errors.Is(err, holdfast.ErrConflict) {
		t.Errorf("over a file: %v", err)
	}
	if got, _ := os.ReadFile(file); !bytes.Equal(got, []byte("keep")) {
		t.Error("the file was removed")
	}
}

// TestOtherUsersAreRefused connects as nobody to a socket whose mode was opened by mistake.
func TestOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	a := apitest.Start(t)
	for _, p := range []string{a.Socket} {
		check(t, os.Chmod(p, 0o666))
	}
	for d := filepath.Dir(a.Socket); len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		check(t, os.Chmod(d, 0o755))
	}
	if got := connectAs(t, 65534, a.Socket); got != "refused" {
		t.Errorf("nobody was answered: %q", got)
	}
	if got := connectAs(t, 0, a.Socket); got != "answered" {
		t.Errorf("root was refused: %q", got)
	}
}
