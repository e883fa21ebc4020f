package build

import (
	"os"
	"testing"
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
