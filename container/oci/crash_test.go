//go:build linux

package oci

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
)

// crashEnv makes the test binary a process that uses a runtime until it is killed: program, directory, image.
const crashEnv = "HOLDFAST_TEST_CRASH"

func TestMain(m *testing.M) {
	if args := os.Getenv(crashEnv); args != "" {
		if err := churn(strings.Split(args, "\n")); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

const crashCgroup = "/holdfast-test-crash"

// churn starts containers for ever and prints the ID of each that was started.
func churn(args []string) error {
	r, err := New(Config{Program: args[0], Dir: args[1], CgroupParent: crashCgroup})
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		sandbox, err := r.Park(context.Background(), container.ParkOptions{})
		if err != nil {
			return err
		}
		config := container.DefaultSpec()
		config.Process.Args = []string{"/bin/prog", "ignore"}
		id := fmt.Sprintf("c%d-%d", os.Getpid(), i)
		_, err = r.Start(context.Background(), container.Spec{
			ID: id, Sandbox: sandbox.ID, OCI: config, Rootfs: container.Rootfs{Dirs: []string{args[2]}},
		})
		if err != nil {
			return err
		}
		fmt.Println("started", id)
	}
}

// TestCrash kills a process that uses the runtime at any moment, several times over one state: the next runtime has all
// containers that were acknowledged, running, and when all it knows are removed nothing is left on the machine.
func TestCrash(t *testing.T) {
	needs(t, "crun")
	image := containertest.NewImage(t).Dir
	dir := filepath.Join(t.TempDir(), "oci")
	acknowledged := map[string]bool{}
	for range 6 {
		for _, id := range untilKilled(t, dir, image) {
			acknowledged[id] = true
		}
	}
	r, err := New(Config{Program: "crun", Dir: dir, CgroupParent: crashCgroup})
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.Phase == container.Running {
			delete(acknowledged, s.ID)
		}
		if err := r.Remove(t.Context(), s.ID); err != nil {
			t.Errorf("remove %s: %v", s.ID, err)
		}
	}
	if len(acknowledged) > 0 {
		t.Errorf("lost: %v", acknowledged)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, dir)
}

// untilKilled runs churn until a moment after its first container and returns what it started.
func untilKilled(t *testing.T, dir, image string) (started []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+strings.Join([]string{"crun", dir, image}, "\n"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		id, ok := strings.CutPrefix(lines.Text(), "started ")
		if !ok {
			t.Error(lines.Text())
			continue
		}
		if started = append(started, id); len(started) == 1 {
			kill := time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			defer kill.Stop()
		}
	}
	_ = cmd.Wait() // killed
	return started
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(mounts), dir); n > 0 {
		t.Errorf("%d mounts are left", n)
	}
	for _, sub := range []string{"box", "net"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			t.Errorf("%s/%s is left", sub, e.Name())
		}
	}
	removeCgroups(t, crashCgroup)
}

// TestTornState opens over state that a crash or a fault of the disk left unreadable.
func TestTornState(t *testing.T) {
	needs(t, "runc")
	dir := filepath.Join(t.TempDir(), "oci")
	for name, text := range map[string]string{"empty": "", "torn": `{"boot":"x","status":{"id":"to`, "other": `{"boot":"another boot","status":{"id":"y"}}`} {
		if err := os.MkdirAll(filepath.Join(dir, "box", name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "box", name, "state.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "box", "bare"), 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Program: "runc", Dir: dir, CgroupParent: crashCgroup})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, dir)
}
