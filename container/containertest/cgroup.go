package containertest

import (
	"os"
	"path/filepath"
	"testing"
)

// RemoveCgroups removes the cgroup parent, which a test's containers had theirs in, from every hierarchy when the test is
// over, if it is empty then.
func RemoveCgroups(t testing.TB, parent string) {
	t.Cleanup(func() {
		paths, err := filepath.Glob("/sys/fs/cgroup/*" + parent)
		if err != nil {
			t.Error(err)
		}
		for _, path := range append(paths, "/sys/fs/cgroup"+parent) {
			nested, err := filepath.Glob(path + "/*/")
			if err != nil {
				t.Error(err)
			}
			for _, dir := range append(nested, path) {
				_ = os.Remove(dir) // what is in use stays
			}
		}
	})
}
