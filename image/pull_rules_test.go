package image

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

func TestPullPolicies(t *testing.T) {
	host := startRegistry(t)
	ref := host + "/app:1"
	old, newer := imageOf(t, randomLayer(t, 1, 10)), imageOf(t, randomLayer(t, 2, 10))
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := openStore(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	pull := func(policy string) string {
		t.Helper()
		img, err := s.Pull(t.Context(), ref, PullOptions{Policy: policy})
		if err != nil {
			t.Fatalf("%s: %v", policy, err)
		}
		return img.Digest
	}
	if _, err := s.Pull(t.Context(), ref, PullOptions{Policy: "never"}); !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("never: %v", err)
	}
	push(t, ref, old)
	first := pull("missing")
	push(t, ref, newer)
	for _, policy := range []string{"", "missing", "never", "daily", "weekly", "every_1h"} {
		if pull(policy) != first {
			t.Errorf("%q pulled", policy)
		}
	}
	now = now.Add(25 * time.Hour)
	if pull("weekly") != first || pull("every_1d2h") != first {
		t.Error("pulled too early")
	}
	if pull("daily") == first {
		t.Error("daily did not pull after 25 hours")
	}
	push(t, ref, old)
	if pull("always") != first {
		t.Error("always did not pull")
	}
	for _, policy := range []string{"sometimes", "every_", "every_x", "every_-1h", "every_0s"} {
		if _, err := s.Pull(t.Context(), ref, PullOptions{Policy: policy}); !errors.Is(err, holdfast.ErrInvalid) {
			t.Errorf("%s: %v", policy, err)
		}
	}
}

func TestPullErrors(t *testing.T) {
	host := startRegistry(t)
	s := openStore(t, t.TempDir(), Options{Attempts: 1})
	other, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "s390x", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	push(t, host+"/other:1", other)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "windows", Architecture: "amd64"}}})
	if err := remote.WriteIndex(parse(t, host+"/index:1"), index); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		ref, want string
		kind      error
	}{
		{"", "parse image reference", holdfast.ErrInvalid},
		{"UPPER/case", "parse image reference", holdfast.ErrInvalid},
		{"a@sha256:12", "parse image reference", holdfast.ErrInvalid},
		{"a:b:c", "parse image reference", holdfast.ErrInvalid},
		{host + "/none:1", "NAME_UNKNOWN", holdfast.ErrNotFound},
		{host + "/other:1", "image is for linux/s390x, this node is linux/", holdfast.ErrUnsupported},
		{host + "/index:1", "(there is: linux/s390x, windows/amd64)", holdfast.ErrUnsupported},
		{"holdfast.local/app/web:1", "no registry has it", holdfast.ErrNotFound},
		{"localhost:1/app", "connect to registry localhost:1", holdfast.ErrUnavailable},
	}
	for _, test := range tests {
		_, err := s.Pull(t.Context(), test.ref, PullOptions{})
		if !errors.Is(err, test.kind) || !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%q: %v, want %q", test.ref, err, test.want)
		}
	}
}

func TestPullWithCredentials(t *testing.T) {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	secret := "s3cret"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, ok := r.BasicAuth(); r.Method != http.MethodPut && r.Method != http.MethodPost && r.Method != http.MethodPatch && r.Method != http.MethodHead && (!ok || password != secret) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	img := imageOf(t, randomLayer(t, 1, 10))
	config := t.TempDir()
	auth := fmt.Sprintf(`{"auths":{%q:{"auth":"bWU6czNjcmV0"}}}`, host)
	if err := os.WriteFile(config+"/config.json", []byte(auth), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", config)
	found, err := Credentials(t.Context(), host+"/app:1")
	if err != nil || found != (Auth{Username: "me", Password: secret}) {
		t.Fatalf("credentials: %+v, %v", found, err)
	}
	r := parse(t, host+"/app:1")
	if err := remote.Write(r, img, remote.WithAuth(found.authenticator())); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, t.TempDir(), Options{})
	if _, err := s.Pull(t.Context(), host+"/app:1", PullOptions{}); !errors.Is(err, holdfast.ErrInvalid) || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("without credentials: %v", err)
	}
	if _, err := s.Pull(t.Context(), host+"/app:1", PullOptions{Auth: found}); err != nil {
		t.Error(err)
	}
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

func used(t *testing.T, dir string) int64 {
	t.Helper()
	n, err := treeBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFullDiskDuringPull(t *testing.T) {
	host := startRegistry(t)
	small := imageOf(t, randomLayer(t, 1, 100000))
	push(t, host+"/small:1", small)
	push(t, host+"/download:1", imageOf(t, randomLayer(t, 2, 8<<20)))
	push(t, host+"/unpack:1", imageOf(t, randomLayer(t, 3, 2500<<10)))
	dir := smallDisk(t, 4<<20)
	s := openStore(t, dir, Options{})
	if _, err := s.Pull(t.Context(), host+"/small:1", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"download", "unpack"} {
		_, err := s.Pull(t.Context(), host+"/"+name+":1", PullOptions{})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "holdfast image prune") {
			t.Fatalf("%s: %v", name, err)
		}
		if n := used(t, dir); n > 1<<20 {
			t.Errorf("%s: %d bytes stay", name, n)
		}
	}
	again, err := s.Pull(t.Context(), host+"/small:1", PullOptions{Policy: "always"})
	if err != nil || len(readFile(t, again, "data1")) != 100000 {
		t.Errorf("the acknowledged image: %v", err)
	}
}

func TestProgressPerLayer(t *testing.T) {
	host := startRegistry(t)
	img := imageOf(t, randomLayer(t, 1, 3<<20), randomLayer(t, 2, 2<<20))
	push(t, host+"/app:1", img)
	s := openStore(t, t.TempDir(), Options{})
	last := map[string]Progress{}
	var end Progress
	_, err := s.Pull(t.Context(), host+"/app:1", PullOptions{Progress: func(p Progress) {
		before := last[string(p.Step)+p.Layer]
		if p.Current < before.Current {
			t.Errorf("%+v after %+v", p, before)
		}
		last[string(p.Step)+p.Layer], end = p, p
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, size := range []int64{3 << 20, 2 << 20} {
		for _, step := range []Step{Downloading, Unpacking} {
			p := last[string(step)+layerDigest(t, img, i)]
			if p.Current < size || p.Current != p.Total {
				t.Errorf("layer %d ends with %+v", i, p)
			}
		}
	}
	if end.Step != Done {
		t.Errorf("the last progress is %+v", end)
	}
}

// TestRegistryServesBuildah pulls from and pushes to a store with another implementation of the protocol.
func TestRegistryServesBuildah(t *testing.T) {
	if _, err := exec.LookPath("buildah"); err != nil {
		t.Skip("buildah is not installed")
	}
	s := openStore(t, t.TempDir(), Options{})
	host := serve(t, s)
	push(t, host+"/app:1", imageOf(t, tarOf(t, map[string]string{"hello": "hi"})))
	storage := []string{"--root", t.TempDir(), "--runroot", t.TempDir(), "--storage-driver", "vfs"}
	for _, args := range [][]string{
		{"pull", "--tls-verify=false", "docker://" + host + "/app:1"},
		{"push", "--tls-verify=false", host + "/app:1", "docker://" + host + "/copied:2"},
	} {
		if out, err := exec.Command("buildah", append(storage, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("buildah %v: %v\n%s", args, err, out)
		}
	}
	img, err := s.Get(t.Context(), host+"/copied:2")
	if err != nil || readFile(t, img, "hello") != "hi" {
		t.Errorf("what buildah pushed: %v", err)
	}
}
