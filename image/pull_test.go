package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/holdfast/holdfast"
)

// badRegistry is a registry whose answers to requests for content a test can spoil.
type badRegistry struct {
	host  string
	inner http.Handler
	mu    sync.Mutex
	spoil func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	gets  atomic.Int32                                      // of content
}

func startBadRegistry(t testing.TB) *badRegistry {
	t.Helper()
	b := &badRegistry{inner: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	srv := httptest.NewServer(b)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(srv.Close)
	b.host = strings.TrimPrefix(srv.URL, "http://")
	return b
}

func (b *badRegistry) set(spoil func(w http.ResponseWriter, r *http.Request) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spoil = spoil
}

func (b *badRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
		b.gets.Add(1)
		b.mu.Lock()
		spoil := b.spoil
		b.mu.Unlock()
		if spoil != nil && spoil(w, r) {
			return
		}
	}
	b.inner.ServeHTTP(w, r)
}

// content returns what the registry really has at the request's path.
func (b *badRegistry) content(r *http.Request) []byte {
	w := httptest.NewRecorder()
	b.inner.ServeHTTP(w, httptest.NewRequest("GET", r.URL.Path, nil))
	return w.Body.Bytes()
}

// randomLayer is a tar with one file that does not compress.
func randomLayer(t testing.TB, seed uint64, size int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return tarOf(t, map[string]string{fmt.Sprintf("data%d", seed): string(data)})
}

func layerDigest(t testing.TB, img v1.Image, i int) string {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, err := layers[i].Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func TestSpoiledLayersAreRefused(t *testing.T) {
	bad := startBadRegistry(t)
	ref := bad.host + "/app:1"
	img := imageOf(t, randomLayer(t, 1, 5000), randomLayer(t, 2, 300000))
	push(t, ref, img)
	second := layerDigest(t, img, 1)
	only := func(f func(w http.ResponseWriter, data []byte)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, second) {
				return false
			}
			f(w, bad.content(r))
			return true
		}
	}
	tests := []struct {
		name, want string
		kind       error
		spoil      func(w http.ResponseWriter, data []byte)
	}{
		{"flipped bit", "corrupted: content is sha256:", holdfast.ErrInvalid, func(w http.ResponseWriter, data []byte) {
			data[len(data)/2] ^= 1
			w.Write(data)
		}},
		{"shorter", "truncated or replaced: registry has 1000 bytes", holdfast.ErrInvalid, func(w http.ResponseWriter, data []byte) {
			w.Header().Set("Content-Length", "1000")
			w.Write(data[:1000])
		}},
		{"longer", "truncated or replaced", holdfast.ErrInvalid, func(w http.ResponseWriter, data []byte) {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
			w.Write(append(data, 0))
		}},
		{"longer, size unknown", "more than the", holdfast.ErrInvalid, func(w http.ResponseWriter, data []byte) {
			w.(http.Flusher).Flush()
			w.Write(append(data, 0))
		}},
		{"ends early, size unknown", "truncated: connection ended after", holdfast.ErrUnavailable, func(w http.ResponseWriter, data []byte) {
			w.(http.Flusher).Flush()
			w.Write(data[:len(data)/3])
		}},
		{"not there", "404", holdfast.ErrNotFound, func(w http.ResponseWriter, _ []byte) { w.WriteHeader(404) }},
		{"server error", "gave up after 2 attempts", holdfast.ErrUnavailable, func(w http.ResponseWriter, _ []byte) { w.WriteHeader(500) }},
		{"something else", "corrupted", holdfast.ErrInvalid, func(w http.ResponseWriter, data []byte) {
			w.Write(bytes.Repeat([]byte("x"), len(data)))
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{Attempts: 2})
			bad.set(only(test.spoil))
			_, err := s.Pull(t.Context(), ref, PullOptions{})
			if err == nil {
				t.Fatal("pulled")
			}
			if !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
			if !strings.Contains(err.Error(), "layer 2 of 2 ("+second+")") {
				t.Errorf("error does not name the layer: %v", err)
			}
			if _, err := s.Get(t.Context(), ref); !errors.Is(err, holdfast.ErrNotFound) {
				t.Errorf("image is there: %v", err)
			}
			bad.set(nil)
			got, err := s.Pull(t.Context(), ref, PullOptions{})
			if err != nil {
				t.Fatalf("pull of the good image after it: %v", err)
			}
			if len(readFile(t, got, "data2")) != 300000 {
				t.Error("content is wrong")
			}
		})
	}
}

// TestLayerMustMatchConfig refuses a layer that its digest admits but whose content is not what the config says.
func TestLayerMustMatchConfig(t *testing.T) {
	host := startRegistry(t)
	img := imageOf(t, randomLayer(t, 1, 100))
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.RootFS.DiffIDs[0].Hex = strings.Repeat("a", 64)
	wrong, err := mutate.ConfigFile(img, cfg)
	if err != nil {
		t.Fatal(err)
	}
	push(t, host+"/app:1", wrong)
	_, err = openStore(t, t.TempDir(), Options{}).Pull(t.Context(), host+"/app:1", PullOptions{})
	if !errors.Is(err, holdfast.ErrInvalid) || !strings.Contains(err.Error(), "the image's config says sha256:aaaa") {
		t.Errorf("error is %v", err)
	}
}

// TestInterruptedPullGoesOn cuts the connection in the middle of a layer, opens the store anew as after a crash, and
// checks that only the rest is asked for.
func TestInterruptedPullGoesOn(t *testing.T) {
	bad := startBadRegistry(t)
	ref := bad.host + "/app:1"
	img := imageOf(t, randomLayer(t, 1, 1<<20))
	push(t, ref, img)
	digest := layerDigest(t, img, 0)
	var ranges []string
	bad.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, digest) {
			return false
		}
		ranges = append(ranges, r.Header.Get("Range"))
		data := bad.content(r)
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		w.Write(data[:400000])
		panic(http.ErrAbortHandler)
	})
	dir := t.TempDir()
	s := openStore(t, dir, Options{Attempts: 1})
	if _, err := s.Pull(t.Context(), ref, PullOptions{}); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Fatalf("first pull: %v", err)
	}
	s.Close()
	bad.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, digest) {
			return false
		}
		ranges = append(ranges, r.Header.Get("Range"))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(bad.content(r)))
		return true
	})
	s = openStore(t, dir, Options{})
	if _, err := s.Pull(t.Context(), ref, PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(ranges) != 2 || ranges[0] != "" || ranges[1] != "bytes=400000-" {
		t.Errorf("ranges asked for: %q", ranges)
	}
}

// TestBrokenPartialIsNotTrusted resumes on a file that a power cut filled with zeros.
func TestBrokenPartialIsNotTrusted(t *testing.T) {
	host := startRegistry(t)
	img := imageOf(t, randomLayer(t, 1, 1<<20))
	push(t, host+"/app:1", img)
	s := openStore(t, t.TempDir(), Options{})
	if err := os.WriteFile(s.partialPath(layerDigest(t, img, 0)), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), host+"/app:1", PullOptions{}); err != nil {
		t.Error(err)
	}
}

func TestStalledDownloadIsTakenUpAgain(t *testing.T) {
	bad := startBadRegistry(t)
	img := imageOf(t, randomLayer(t, 1, 100000))
	push(t, bad.host+"/app:1", img)
	digest := layerDigest(t, img, 0)
	var stalled atomic.Bool
	bad.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, digest) || stalled.Swap(true) {
			return false
		}
		w.Write(bad.content(r)[:10])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	s := openStore(t, t.TempDir(), Options{Stall: 50 * time.Millisecond})
	if _, err := s.Pull(t.Context(), bad.host+"/app:1", PullOptions{}); err != nil {
		t.Error(err)
	}
}

func TestConcurrentPullsShareDownloads(t *testing.T) {
	bad := startBadRegistry(t)
	shared := randomLayer(t, 1, 200000)
	push(t, bad.host+"/a:1", imageOf(t, shared, randomLayer(t, 2, 1000)))
	push(t, bad.host+"/b:1", imageOf(t, shared, randomLayer(t, 3, 1000)))
	s := openStore(t, t.TempDir(), Options{})
	var wg sync.WaitGroup
	for i := range 16 {
		ref := bad.host + []string{"/a:1", "/b:1"}[i%2]
		wg.Go(func() {
			img, err := s.Pull(t.Context(), ref, PullOptions{})
			if err != nil {
				t.Error(err)
			} else if len(readFile(t, img, "data1")) != 200000 {
				t.Error("content is wrong")
			}
		})
	}
	wg.Wait()
	if n := bad.gets.Load(); n != 5 { // three layers, two configs
		t.Errorf("%d requests for content, want 5", n)
	}
}

func TestCancelledPullDoesNotHurtOthers(t *testing.T) {
	bad := startBadRegistry(t)
	img := imageOf(t, randomLayer(t, 1, 100000))
	push(t, bad.host+"/app:1", img)
	digest := layerDigest(t, img, 0)
	reached := make(chan struct{})
	var once sync.Once
	bad.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, digest) {
			once.Do(func() { close(reached); <-r.Context().Done() })
		}
		return false
	})
	s := openStore(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := s.Pull(ctx, bad.host+"/app:1", PullOptions{})
		first <- err
	}()
	<-reached
	second := make(chan error)
	waiting := make(chan struct{}, 1)
	go func() {
		_, err := s.Pull(t.Context(), bad.host+"/app:1", PullOptions{Progress: func(p Progress) {
			if p.Step == Waiting {
				waiting <- struct{}{}
			}
		}})
		second <- err
	}()
	<-waiting
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled pull: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("other pull: %v", err)
	}
}
