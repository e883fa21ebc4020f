package etcd_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/etcd"
	"github.com/holdfast/holdfast/store/storetest"
)

func start(t *testing.T, dir string) *etcd.Engine {
	t.Helper()
	kv, err := etcd.Start(t.Context(), etcd.Config{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.KV { return start(t, t.TempDir()) })
}

func TestReopen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	kv := start(t, dir)
	revision, err := kv.Commit(t.Context(), nil, []store.Op{{Key: "a", Value: []byte("1")}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Start(t.Context(), etcd.Config{Dir: dir}); !errors.Is(err, holdfast.ErrConflict) {
		t.Errorf("second start in the same directory: %v", err)
	}
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	kv = start(t, dir)
	defer kv.Close()
	entries, at, err := kv.Range(t.Context(), "")
	if err != nil || len(entries) != 1 || entries[0].Revision != revision || at != revision {
		t.Errorf("got %v at %d, error %v; want a=1 at %d", entries, at, err, revision)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory has mode %v, error %v", info.Mode(), err)
	}
}
