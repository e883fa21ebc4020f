//go:build linux

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
	"github.com/holdfast/holdfast/container/linux"
)

// TestMain lets the test binary be the supervisor that EnsureRunning starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervisor" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := Run(ctx, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "hello" { // TestStrangerRefused
		c := &Client{socket: os.Args[2]}
		if _, err := c.hello(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// config is a supervisor's whose state is in dir and that meets nobody else's on this machine.
func config(t testing.TB, dir string) Config {
	sockets, err := os.MkdirTemp("", "hf") // dir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	containertest.RemoveCgroups(t, "/holdfast-test-"+filepath.Base(sockets))
	return Config{
		Socket: filepath.Join(sockets, "s"),
		Runtime: linux.Config{
			Dir: filepath.Join(dir, "lib"), RunDir: filepath.Join(dir, "run"),
			CgroupParent: "/holdfast-test-" + filepath.Base(sockets),
			Log:          slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		},
	}
}

func TestContract(t *testing.T) {
	cfgs := map[string]Config{}
	containertest.Run(t, containertest.Config{
		Open: func(t testing.TB, dir string) (container.Runtime, func()) {
			cfg, known := cfgs[dir]
			if !known {
				cfg = config(t, dir)
				cfgs[dir] = cfg
			}
			cfg.Runtime.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			ctx, cancel := context.WithCancel(context.Background())
			served := make(chan error, 1)
			go func() { served <- Serve(ctx, cfg) }()
			c := waitFor(t, cfg.Socket, served)
			return c, func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				cancel()
				if err := <-served; err != nil {
					t.Error(err)
				}
			}
		},
		Missing: map[containertest.Feature]string{containertest.EROFS: "tested where the runtime is"},
	})
}

// waitFor returns a client once the supervisor answers.
func waitFor(t testing.TB, socket string, served <-chan error) *Client {
	t.Helper()
	c := &Client{socket: socket}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		select {
		case err := <-served:
			failed <- err
			cancel()
		case <-ctx.Done():
		}
	}()
	if _, err := c.hello(ctx); err != nil {
		select {
		case err = <-failed:
		default:
		}
		t.Fatal(err)
	}
	return c
}

// TestOtherRuntime: a sandbox of runc's is used like one of our own, over a kill of the supervisor.
func TestOtherRuntime(t *testing.T) {
	if _, err := exec.LookPath("runc"); err != nil {
		t.Skip("runc is not installed")
	}
	w := newWorld(t)
	watched, err := w.c.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.Park(t.Context(), container.ParkOptions{Runtime: "none"}); !errors.Is(err, holdfast.ErrUnsupported) {
		t.Errorf("park for no runtime: %v", err)
	}
	sandbox, err := w.c.Park(t.Context(), container.ParkOptions{Runtime: "runc"})
	if err != nil {
		t.Fatal(err)
	}
	w.start("theirs", func(s *container.Spec) { s.Sandbox = sandbox.ID }, "catch", "4")
	w.start("ours", nil, "catch", "5")
	w.says("theirs", "ready")
	w.says("ours", "ready")
	code := execOutput(t, w.c, "theirs", "print", "hello", "")
	if code != "hello" {
		t.Errorf("exec: %q", code)
	}
	w.end(w.pid(), syscall.SIGKILL)
	w.up()
	for id, want := range map[string]int{"theirs": 4, "ours": 5} {
		if err := w.c.Signal(t.Context(), id, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if s := w.exited(id); s.ExitCode != want {
			t.Errorf("%+v", s)
		}
	}
	seen := map[string]bool{}
	for s := range watched {
		if s.Phase == container.Exited {
			seen[s.ID] = true
		}
		if seen["theirs"] && seen["ours"] {
			break
		}
	}
}

func execOutput(t *testing.T, rt container.Runtime, id string, args ...string) string {
	t.Helper()
	p, err := rt.Exec(t.Context(), id, container.ExecSpec{Args: append([]string{"/bin/prog"}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	out, err := io.ReadAll(p.Stdout())
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
