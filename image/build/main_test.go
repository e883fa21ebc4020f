package build

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// sharedCache keeps built images for the tests of this process. HOLDFAST_TEST_CACHE keeps them for the next as well.
var sharedCache string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	sharedCache = os.Getenv("HOLDFAST_TEST_CACHE")
	if sharedCache != "" {
		return m.Run()
	}
	var err error
	if sharedCache, err = os.MkdirTemp("", "holdfast-build-*"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(sharedCache)
	return m.Run()
}

// smallDisk mounts a file system of that many bytes.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func grow(t *testing.T, dir string, bytes int) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatal(err)
	}
}
