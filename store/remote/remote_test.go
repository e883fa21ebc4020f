package remote_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
	"github.com/holdfast/holdfast/store/remote"
	"github.com/holdfast/holdfast/store/storetest"
)

// serve gives access to kv on a socket until the returned function is called.
func serve(t *testing.T, path string, kv store.KV, access remote.Access) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := remote.Serve(ctx, l, kv, access); err != nil {
			t.Error(err)
		}
	}()
	return func() { cancel(); <-done }
}

func socket(t *testing.T) string { return filepath.Join(t.TempDir(), "s") }

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.KV {
		path := socket(t)
		t.Cleanup(serve(t, path, mem.New(), remote.Access{}))
		return remote.Dial(remote.Unix(path))
	})
}

func TestFollowsAcrossRestartsOfTheOtherSide(t *testing.T) {
	path, kv := socket(t), mem.New()
	stop := serve(t, path, kv, remote.Access{})
	s, err := store.Open(t.Context(), remote.Dial(remote.Unix(path)))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string) {
		t.Helper()
		local, err := store.Open(t.Context(), kv)
		if err != nil {
			t.Fatal(err)
		}
		if err := local.Update(t.Context(), func(_ *store.Snapshot, tx *store.Tx) error {
			tx.Put(&holdfast.App{Name: name})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	write("while away")
	defer serve(t, path, kv, remote.Access{})()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for snap := s.Snapshot(); ; {
		if _, ok := snap.Apps.Get("while away"); ok {
			return
		}
		if snap, err = s.Wait(ctx, snap.Revision); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAccessIsLimited(t *testing.T) {
	path, kv := socket(t), mem.New()
	if _, err := kv.Commit(t.Context(), nil, []store.Op{{Key: "open", Value: []byte("1")}, {Key: "secret", Value: []byte("2")}}); err != nil {
		t.Fatal(err)
	}
	visible := func(key string) bool { return !strings.HasPrefix(key, "secret") }
	defer serve(t, path, kv, remote.Access{Read: visible, Write: func(key string) bool { return key == "mine" }})()
	client := remote.Dial(remote.Unix(path))
	entries, revision, err := client.Range(t.Context(), "")
	if err != nil || len(entries) != 1 || entries[0].Key != "open" {
		t.Fatalf("range: %v, %v", entries, err)
	}
	if _, err := client.Commit(t.Context(), nil, []store.Op{{Key: "open", Value: []byte("3")}}); !errors.Is(err, holdfast.ErrInvalid) {
		t.Fatalf("commit to another's key: %v", err)
	}
	batches, err := client.Watch(t.Context(), "", revision+1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Commit(t.Context(), nil, []store.Op{{Key: "secret", Value: []byte("4")}, {Key: "open", Value: []byte("5")}}); err != nil {
		t.Fatal(err)
	}
	if b := <-batches; len(b.Changes) != 1 || b.Changes[0].Key != "open" {
		t.Fatalf("watch: %v", b)
	}
}

// FuzzServe sends what a stranger might; the server must neither crash nor hang.
func FuzzServe(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := socket(t)
		defer serve(t, path, mem.New(), remote.Access{})()
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(data) //nolint:errcheck // the server may have hung up
		conn.Close()
	})
}
