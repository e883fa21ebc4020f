//go:build linux

package oci

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/containertest"
)

func TestRunc(t *testing.T) { contract(t, "runc") }
func TestCrun(t *testing.T) { contract(t, "crun") }

func open(program string) func(t testing.TB, dir string) (container.Runtime, func()) {
	return func(t testing.TB, dir string) (container.Runtime, func()) {
		t.Helper()
		r, err := New(Config{Program: program, Dir: filepath.Join(dir, "oci"), CgroupParent: "/holdfast-test-" + program})
		if err != nil {
			t.Fatal(err)
		}
		return r, func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func needs(t testing.TB, program string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("needs the Debian package of", program)
	}
}

func contract(t *testing.T, program string) {
	needs(t, program)
	t.Cleanup(func() { removeCgroups(t, "/holdfast-test-"+program) })
	containertest.Run(t, containertest.Config{
		Open: open(program),
		Missing: map[containertest.Feature]string{
			containertest.UserNS: "Debian's programs know no id-mapped layers",
			containertest.EROFS:  "the suite of our own runtime tests image files",
		},
	})
}

// removeCgroups removes the parent of all containers' cgroups, which must be empty.
func removeCgroups(t testing.TB, parent string) {
	t.Helper()
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*" + parent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/fs/cgroup" + parent); err == nil {
		cgroups = append(cgroups, "/sys/fs/cgroup"+parent)
	}
	for _, c := range cgroups {
		if err := unix.Rmdir(c); err != nil {
			t.Errorf("cgroup %s has something left: %v", c, err)
		}
	}
}
