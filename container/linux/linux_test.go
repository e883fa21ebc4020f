//go:build linux

package linux

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
)

// config is a runtime's whose state is in dir and that meets nobody else's on this machine.
func config(t testing.TB, dir string) Config {
	return Config{
		Dir: filepath.Join(dir, "lib"), RunDir: filepath.Join(dir, "run"),
		CgroupParent: "/holdfast-test-" + filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir),
		Log:          slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

func open(t testing.TB, dir string) *Runtime {
	t.Helper()
	r, err := New(config(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHello(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	image := containertest.NewImage(t)
	for i := range 3 {
		sb, err := r.Park(t.Context(), container.ParkOptions{})
		if err != nil {
			t.Fatal(err)
		}
		id := "x" + strings.ToLower(rand.Text())
		log := filepath.Join(dir, id+".log")
		st, err := r.Start(t.Context(), container.Spec{ID: id, Sandbox: sb.ID, OCI: image.Config(t, "print", "hello", "err"), Rootfs: container.Rootfs{Dirs: []string{image.Dir}}, Log: container.Log{Path: log}})
		if err != nil {
			t.Fatal(i, err)
		}
		c, _ := r.find(id)
		<-c.done
		text, _ := os.ReadFile(log)
		t.Logf("%+v %s", st, text)
		if err := r.Remove(context.Background(), id); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
}
