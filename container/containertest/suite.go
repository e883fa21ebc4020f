// Package containertest is the contract that every container.Runtime passes: Run is called by the tests of each.
//
// May import only the root package, container and what is below it, and libraries.
package containertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/seccomp"
)

// Feature is a part of the contract that an implementation may not have.
type Feature string

// Features.
const (
	Kernel      Feature = "kernel"       // real processes in namespaces, with a root file system, limits and statistics
	Terminal    Feature = "terminal"     // pseudo terminals
	Rotation    Feature = "rotation"     // Log.MaxBytes and MaxFiles
	UserNS      Feature = "userns"       // Sandbox.UIDs is not 0
	Init        Feature = "init"         // Spec.Init
	EROFS       Feature = "erofs"        // Rootfs.EROFS
	Stdin       Feature = "stdin"        // Spec.Stdin with Attach
	ExitOffline Feature = "exit-offline" // the exit code of what ended while no Runtime was open
	OOM         Feature = "oom"          // Status.OOM
)

// Config says how to make the runtime under test.
type Config struct {
	// Open opens a runtime whose state is in dir, which exists and may be anything between empty and what an earlier
	// Open left; close lets go of it without stopping its containers.
	Open func(t testing.TB, dir string) (rt container.Runtime, close func())
	// Park is given to Park unless a test needs another.
	Park container.ParkOptions
	// Missing tells of each feature that is not there why.
	Missing map[Feature]string
	// EROFS makes an EROFS file of a directory.
	EROFS func(t testing.TB, dir string) (file string)
}

// Image is a root file system with the suite's program in it, at /bin/prog, built once per call of Run.
type Image struct {
	Dir string
}

// Run runs the whole suite.
func Run(t *testing.T, cfg Config) {
	image := NewImage(t)
	for _, group := range []struct {
		name  string
		tests []contractTest
	}{
		{"life", lifeTests}, {"streams", streamTests}, {"process", processTests}, {"files", fileTests}, {"limits", limitTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					for _, f := range test.needs {
						if why, missing := cfg.Missing[f]; missing {
							t.Skipf("no %s: %s", f, why)
						}
					}
					test.run(newHarness(t, cfg, image))
				})
			}
		})
	}
}

type contractTest struct {
	name  string
	needs []Feature
	run   func(h *harness)
}

// NewImage builds an Image in a temporary directory.
func NewImage(t testing.TB) Image {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	for path, mode := range map[string]os.FileMode{
		"bin": 0o755, "etc": 0o755, "proc": 0o755, "sys": 0o755, "dev": 0o755, "data": 0o755, "tmp": 0o1777 &^ 0o1000, "root": 0o700, "run": 0o755,
	} {
		must(t, os.MkdirAll(filepath.Join(dir, path), mode))
	}
	must(t, os.Chmod(dir, 0o755)) // whatever the umask and the temporary directory are
	must(t, os.Chmod(filepath.Join(dir, "tmp"), 0o777|os.ModeSticky))
	must(t, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/data:/bin/sh\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "etc/group"), []byte("root:x:0:\napp:x:1001:\nextra:x:2000:app\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "etc/motd"), []byte("from the image\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "etc/plain"), []byte("no program\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "etc/bad"), []byte("no program\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "data/mine"), []byte("app's"), 0o600))
	must(t, os.Chown(filepath.Join(dir, "data/mine"), 1000, 1001))
	Build(t, filepath.Join(dir, "bin/prog"), "github.com/holdfast/holdfast/container/containertest/testdata/prog")
	return Image{Dir: dir}
}

// Build builds a static Go program of this module.
func Build(t testing.TB, file, pkg string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
}

// Config returns the OCI config of a container that runs the suite's program with args, with the default capabilities
// and seccomp profile.
func (i Image) Config(t testing.TB, args ...string) *specs.Spec {
	t.Helper()
	spec := container.DefaultSpec()
	spec.Process.Args = append([]string{"/bin/prog"}, args...)
	profile, err := seccomp.Default(container.DefaultCapabilities)
	must(t, err)
	spec.Linux.Seccomp = profile
	return spec
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lineWith returns the first line of text that begins with prefix, without it.
func lineWith(t testing.TB, text, prefix string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("no line %q in:\n%s", prefix, text)
	return ""
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %s, want %s", what, show(got), show(want))
	}
}

func show(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprint(v)
}
