//go:build linux

package linux

import (
	"log/slog"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
)

// config is a runtime's whose state is in dir and that meets nobody else's on this machine.
func config(t testing.TB, dir string) Config {
	cgroup := "/holdfast-test-" + filepath.Base(filepath.Dir(dir)) + "-" + filepath.Base(dir)
	containertest.RemoveCgroups(t, cgroup)
	return Config{
		Dir: filepath.Join(dir, "lib"), RunDir: filepath.Join(dir, "run"),
		CgroupParent: cgroup,
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

func TestContract(t *testing.T) {
	containertest.Run(t, containertest.Config{
		Open: func(t testing.TB, dir string) (container.Runtime, func()) {
			r := open(t, dir)
			return r, func() {
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}
		},
		EROFS: makeEROFS,
	})
}

// makeEROFS packs a directory with the reference tool.
func makeEROFS(t testing.TB, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.erofs")
	if out, err := exec.Command("mkfs.erofs", "--quiet", file, dir).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.erofs: %v\n%s", err, out)
	}
	return file
}
