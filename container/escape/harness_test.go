//go:build linux

package escape

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
	"github.com/holdfast/holdfast/container/linux"
	"github.com/holdfast/holdfast/container/logs"
	"github.com/holdfast/holdfast/container/oci"
	"github.com/holdfast/holdfast/container/seccomp"
)

// target is a runtime that is attacked.
type target struct {
	name string
	park container.ParkOptions
	open func(t *testing.T, dir, cgroup string) (container.Runtime, io.Closer, error)
	// binary is what an attacker would like to overwrite.
	binary string
}

func targets(t *testing.T) []target {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	own := func(t *testing.T, dir, cgroup string) (container.Runtime, io.Closer, error) {
		r, err := linux.New(linux.Config{
			Dir: filepath.Join(dir, "lib"), RunDir: filepath.Join(dir, "run"), CgroupParent: cgroup, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		return r, r, err
	}
	foreign := func(program string) func(t *testing.T, dir, cgroup string) (container.Runtime, io.Closer, error) {
		return func(_ *testing.T, dir, cgroup string) (container.Runtime, io.Closer, error) {
			r, err := oci.New(oci.Config{Program: program, Dir: filepath.Join(dir, "oci"), CgroupParent: cgroup})
			return r, r, err
		}
	}
	list := []target{
		{"own", container.ParkOptions{}, own, self},
		{"own-hostuserns", container.ParkOptions{HostUserNS: true}, own, self},
	}
	for _, program := range []string{"runc", "crun"} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Logf("%s is not attacked: %v", program, err)
			continue
		}
		list = append(list, target{program, container.ParkOptions{}, foreign(program), path})
	}
	return list
}

// arena is one attack's surroundings.
type arena struct {
	*testing.T
	target target
	rt     container.Runtime
	dir    string
	image  string
	secret string // a file of the node's that must not be found
	ids    []string
}

const patience = 30 * time.Second

func newArena(t *testing.T, target target, image string) *arena {
	dir := t.TempDir()
	a := &arena{T: t, target: target, dir: dir, image: image, secret: filepath.Join(dir, "node-secret")}
	a.must(os.WriteFile(a.secret, []byte("secret of the node"), 0o644))
	cgroup := "/holdfast-escape-" + strings.ToLower(rand.Text())[:8]
	rt, closer, err := target.open(t, dir, cgroup)
	a.must(err)
	a.rt = rt
	t.Cleanup(func() {
		for _, id := range a.ids {
			if err := rt.Remove(context.Background(), id); err != nil {
				t.Errorf("remove %s: %v", id, err)
			}
		}
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
		dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + cgroup)
		for _, d := range append(dirs, "/sys/fs/cgroup"+cgroup) {
			_ = os.Remove(d) // empty by now, and not in every hierarchy
		}
	})
	return a
}

func (a *arena) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

// option changes a container before it starts.
type option func(*container.Spec)

func (a *arena) spec(args []string, options ...option) container.Spec {
	a.Helper()
	sandbox, err := a.rt.Park(a.Context(), a.target.park)
	a.must(err)
	id := "e" + strings.ToLower(rand.Text())[:12]
	a.ids = append(a.ids, sandbox.ID, id)
	config := container.DefaultSpec()
	config.Process.Args = append([]string{"/bin/attack"}, args...)
	config.Linux.Seccomp, err = seccomp.Default(container.DefaultCapabilities)
	a.must(err)
	spec := container.Spec{
		ID: id, Sandbox: sandbox.ID, OCI: config, Rootfs: container.Rootfs{Dirs: []string{a.image}}, Log: container.Log{Path: a.log(id)},
	}
	for _, o := range options {
		o(&spec)
	}
	return spec
}

func (a *arena) log(id string) string { return filepath.Join(a.dir, id+".log") }

// attack runs the command to its end. Whatever it prints as ESCAPED fails the test. A runtime that refuses to start the
// container has stopped the attack: then refused is true.
func (a *arena) attack(args []string, options ...option) (output string, refused bool) {
	a.Helper()
	spec := a.spec(args, options...)
	if _, err := a.rt.Start(a.Context(), spec); err != nil {
		a.Logf("refused: %v", err)
		return "", true
	}
	a.exited(spec.ID)
	return a.judge(spec.ID), false
}

// run is attack where the container must start and its program come to its end.
func (a *arena) run(args []string, options ...option) string {
	a.Helper()
	out, refused := a.attack(args, options...)
	if refused {
		a.Fatal("the container did not start")
	}
	if !strings.HasSuffix(out, "done\n") {
		a.Fatalf("the attack did not come to its end:\n%s", out)
	}
	return out
}

// background starts an attack that goes on until finish.
func (a *arena) background(args []string, options ...option) (id string) {
	a.Helper()
	spec := a.spec(args, options...)
	_, err := a.rt.Start(a.Context(), spec)
	a.must(err)
	deadline := time.After(patience)
	for tick := time.NewTicker(5 * time.Millisecond); !strings.Contains(a.text(spec.ID), "ready"); {
		select {
		case <-tick.C:
		case <-deadline:
			a.Fatalf("the attack is not ready: %s", a.text(spec.ID))
		}
	}
	return spec.ID
}

func (a *arena) finish(id string) string {
	a.Helper()
	a.must(a.rt.Signal(a.Context(), id, syscall.SIGTERM))
	a.exited(id)
	out := a.judge(id)
	if !strings.HasSuffix(out, "done\n") {
		a.Fatalf("the attack did not come to its end:\n%s", out)
	}
	return out
}

func (a *arena) exited(id string) {
	a.Helper()
	ctx, cancel := context.WithTimeout(a.Context(), patience)
	defer cancel()
	changes, err := a.rt.Watch(ctx)
	a.must(err)
	for s := range changes {
		if s.ID == id && s.Phase == container.Exited {
			return
		}
	}
	a.Fatalf("container %s does not end:\n%s", id, a.text(id))
}

func (a *arena) judge(id string) string {
	a.Helper()
	text := a.text(id)
	a.judgeText(text)
	return text
}

func (a *arena) judgeText(text string) {
	a.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "ESCAPED") {
			a.Error(strings.TrimSpace(line))
		}
	}
}

func (a *arena) text(id string) string {
	a.Helper()
	var b strings.Builder
	for e, err := range logs.Read(a.Context(), a.log(id), logs.Options{Tail: -1}) {
		if errors.Is(err, os.ErrNotExist) {
			return ""
		}
		a.must(err)
		b.WriteString(e.Text + "\n")
	}
	return b.String()
}

// exec runs another process in a container; it may be refused.
func (a *arena) exec(id string, spec container.ExecSpec) string {
	a.Helper()
	p, err := a.rt.Exec(a.Context(), id, spec)
	if err != nil {
		return err.Error()
	}
	a.must(p.Stdin().Close())
	out, err := io.ReadAll(p.Stdout())
	a.must(err)
	if _, err := p.Wait(); err != nil {
		a.Error(err)
	}
	a.must(p.Close())
	a.judgeText(string(out))
	return string(out)
}

// layer makes a directory to be laid over the image.
func (a *arena) layer() string {
	a.Helper()
	dir, err := os.MkdirTemp(a.dir, "layer")
	a.must(err)
	a.must(os.Chmod(dir, 0o755))
	return dir
}

// over lays dir over the image.
func over(dir string) option {
	return func(s *container.Spec) { s.Rootfs.Dirs = append([]string{dir}, s.Rootfs.Dirs...) }
}

func bind(source, target string) option {
	return func(s *container.Spec) {
		s.OCI.Mounts = append(s.OCI.Mounts, specs.Mount{Destination: target, Type: "bind", Source: source, Options: []string{"rbind"}})
	}
}

// unchanged returns a function that checks that a file of the node is what it was, and puts it back if not.
func (a *arena) unchanged(path string) (check func()) {
	a.Helper()
	before, err := os.ReadFile(path)
	a.must(err)
	return func() {
		a.Helper()
		after, err := os.ReadFile(path)
		a.must(err)
		if string(after) == string(before) {
			return
		}
		a.Errorf("%s of the node changed to %q", path, after)
		a.must(os.WriteFile(path, before, 0o644))
	}
}

// newImage makes the root file system that holds the attack program.
func newImage(t *testing.T) string {
	t.Helper()
	dir := containertest.NewImage(t).Dir
	bin := filepath.Join(dir, "bin/attack")
	containertest.Build(t, bin, "github.com/holdfast/holdfast/container/escape/testdata/attack")
	data, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	suid := filepath.Join(dir, "bin/suid")
	for _, err := range []error{os.WriteFile(suid, data, 0o755), os.Chmod(suid, 0o755|os.ModeSetuid), os.Mkdir(filepath.Join(dir, "mnt"), 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
