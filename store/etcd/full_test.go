package etcd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// smallDisk mounts a tmpfs of the given size.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill writes to a file in dir until the disk is full to the last byte.
func fill(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 16
		}
	}
	return path
}

func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, 96)
	dir := filepath.Join(disk, "state")
	kv := start(t, dir)
	var acknowledged []string
	try := func(key string) error {
		_, err := kv.Commit(t.Context(), nil, []store.Op{{Key: key, Value: []byte(key)}})
		if err == nil {
			acknowledged = append(acknowledged, key)
		}
		return err
	}
	for round := range 3 {
		for i := range 500 {
			if err := try(fmt.Sprintf("%d-%d", round, i)); err != nil {
				t.Fatalf("commit with space left: %v", err)
			}
		}
		filler := fill(t, disk)
		for i := range 50 {
			err := try(fmt.Sprintf("%d-full-%d", round, i))
			if !errors.Is(err, holdfast.ErrUnavailable) || !strings.Contains(err.Error(), "is full") {
				t.Fatalf("commit on a full disk: %v", err)
			}
		}
		if _, _, err := kv.Range(t.Context(), ""); err != nil {
			t.Errorf("read on a full disk: %v", err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	expectKeys(t, dir, acknowledged)
}

// The disk fills while commits are being made, so that no check beforehand sees it.
func TestDiskFillsUnderLoad(t *testing.T) {
	disk := smallDisk(t, 96)
	dir := filepath.Join(disk, "state")
	kv := start(t, dir)
	full := make(chan string)
	go func() { full <- fill(t, disk) }()
	var acknowledged []string
	var filler string
	for i := 0; filler == ""; i++ {
		key := fmt.Sprintf("k-%d", i)
		_, err := kv.Commit(t.Context(), nil, []store.Op{{Key: key, Value: make([]byte, 16<<10)}, {Key: "k" + key, Value: []byte(key)}})
		switch {
		case err == nil:
			acknowledged = append(acknowledged, key)
		case !errors.Is(err, holdfast.ErrUnavailable):
			t.Fatalf("commit: %v", err)
		}
		select {
		case filler = <-full:
		default:
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Commit(t.Context(), nil, []store.Op{{Key: "after", Value: []byte("after")}}); err != nil {
		t.Errorf("commit once there is space again: %v", err)
	}
	entries, _, err := kv.Range(t.Context(), "kk-")
	if err != nil || len(entries) < len(acknowledged) {
		t.Errorf("%d of %d acknowledged commits are there: %v", len(entries), len(acknowledged), err)
	}
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	kv = start(t, dir)
	defer kv.Close()
	if entries, _, err = kv.Range(t.Context(), "kk-"); err != nil || len(entries) < len(acknowledged) {
		t.Errorf("after a restart %d of %d acknowledged commits are there: %v", len(entries), len(acknowledged), err)
	}
}
