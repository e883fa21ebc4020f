//go:build linux

package supervisor

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/fake"
	"github.com/holdfast/holdfast/container/linux"
	"github.com/holdfast/holdfast/container/linux/stdio"
)

// socketpair returns both ends of a connection.
func socketpair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return conns[0], conns[1]
}

func TestWire(t *testing.T) {
	a, b := socketpair(t)
	from, to := &wire{conn: a}, &wire{conn: b}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	long := request{Op: strings.Repeat("x", 1<<20)} // more than a socket holds
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(from.write(long, r, w), from.write(request{Op: "next"}), w.Close()) }()
	var got request
	files, err := to.read(&got)
	if err != nil || len(files) != 2 || got.Op != long.Op {
		t.Fatalf("%d files, %d bytes, %v", len(files), len(got.Op), err)
	}
	if none, err := to.read(&got); err != nil || len(none) != 0 || got.Op != "next" {
		t.Errorf("%v %+v %v", none, got, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(files[1], "through"); err != nil {
		t.Fatal(err)
	}
	files[1].Close()
	if text, err := io.ReadAll(files[0]); err != nil || string(text) != "through" {
		t.Errorf("%q, %v", text, err)
	}
	files[0].Close()
	if !to.alive() {
		t.Error("a living connection is called dead")
	}
	a.Close()
	if to.alive() {
		t.Error("a dead connection is called alive")
	}
	if _, err := to.read(&got); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	for _, kind := range append(kinds, errors.New("of no kind")) {
		err := encodeError(holdfast.Errorf(kind, "why")).decode()
		if err.Error() != "why" || holdfast.KindOf(err) != holdfast.KindOf(holdfast.Errorf(kind, "")) {
			t.Errorf("%v became %v of kind %v", kind, err, holdfast.KindOf(err))
		}
	}
	if err := encodeError(nil).decode(); err != nil {
		t.Errorf("no error became %v", err)
	}
}

func TestFilesKeepTheirPlaces(t *testing.T) {
	f := os.Stdin
	for _, want := range []stdio.Files{{}, {Stdout: f}, {Stdin: f, Stdout: f, Stderr: f}, {Stdout: f, Terminal: f}} {
		set, files := packFiles(want)
		if got, err := unpackFiles(set, files); err != nil || got != want {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
	if _, err := unpackFiles(streamSet{Stdout: true}, nil); err == nil {
		t.Error("a descriptor was made up")
	}
}

func TestArgs(t *testing.T) {
	c := Config{Socket: "/run/s", OCIDir: "/o", Runtime: linux.Config{
		Dir: "/d", RunDir: "/r", CgroupParent: "/c", IDBase: 5, IDSize: 6, IDRanges: 7, HostUserNS: true, BootID: "b",
	}}
	got, err := ParseArgs(c.Args())
	got.LogFile, got.Runtime.Log, got.Runtime.Now = "", nil, nil
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, args := range [][]string{{"--dir", "relative"}, {"--nonsense"}, {"more"}, {"--id-base", "-1"}, {"--socket", "/" + strings.Repeat("x", 200)}} {
		if _, err := ParseArgs(args); !errors.Is(err, holdfast.ErrInvalid) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// FuzzServer: whatever a client sends, the server answers or hangs up, and serves the next.
func FuzzServer(f *testing.F) {
	frame := func(v any) []byte {
		body, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...)
	}
	for _, op := range []string{"hello", "park", "start", "list", "stats", "signal", "kill", "remove", "pause", "resume", "exec", "attach", "watch", "nonsense"} {
		f.Add(frame(request{Op: op, ID: "x", Signal: -1}))
	}
	f.Add(bytes.Join([][]byte{frame(request{Op: "park", Park: &container.ParkOptions{}}), frame(request{Op: "list"})}, nil))
	f.Add([]byte{255, 255, 255, 255, 1})
	f.Add([]byte{4, 0, 0, 0, '{'})
	log := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, b := socketpair(t)
		s := &server{runtime: fake.New(fake.Config{}), log: log, upgrade: func(string) error { return nil }}
		served := make(chan struct{})
		go func() {
			defer close(served)
			s.client(context.Background(), b)
		}()
		go func() {
			_, _ = a.Write(data) // it may hang up first
			_ = a.CloseWrite()
		}()
		_, _ = io.Copy(io.Discard, a) // to the end, whatever it is
		<-served
	})
}

// TestStrangerRefused: only root may use the supervisor, even where the socket lets others in.
func TestStrangerRefused(t *testing.T) {
	cfg := config(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, cfg) }()
	waitFor(t, cfg.Socket, served).Close()
	if info, err := os.Stat(cfg.Socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, %v", info, err)
	}
	for file, mode := range map[string]os.FileMode{cfg.Socket: 0o666, strings.TrimSuffix(cfg.Socket, "/s"): 0o755} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	probe := strings.TrimSuffix(cfg.Socket, "s") + "probe" // the test binary may lie where others cannot go
	if err := os.WriteFile(probe, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(probe, "hello", cfg.Socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput() // how it notices depends on when the server hangs up
	if err == nil || !strings.Contains(string(out), "EOF") && !strings.Contains(string(out), "reset") && !strings.Contains(string(out), "broken pipe") {
		t.Errorf("a stranger: %v: %s", err, out)
	}
	if out, err := exec.Command(probe, "hello", cfg.Socket).CombinedOutput(); err != nil {
		t.Errorf("root: %v: %s", err, out)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
