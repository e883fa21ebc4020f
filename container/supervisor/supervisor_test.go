//go:build linux

package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

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
	os.Exit(m.Run())
}

// config is a supervisor's whose state is in dir and that meets nobody else's on this machine.
func config(t testing.TB, dir string) Config {
	sockets, err := os.MkdirTemp("", "hf") // dir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
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
