package image

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// serve serves s and returns the host, by the name that images pushed to it have.
func serve(t testing.TB, s *Store) string {
	t.Helper()
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	return strings.Replace(strings.TrimPrefix(srv.URL, "http://"), "127.0.0.1", "localhost", 1)
}

func parse(t testing.TB, ref string) name.Reference {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRegistryPushAndPull(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	host := serve(t, s)
	img := imageOf(t, tarOf(t, map[string]string{"hello": "hi"}), tarOf(t, map[string]string{"big": strings.Repeat("x", 1<<20)}))
	ref := host + "/team/web:1.0"
	push(t, ref, img)
	back, err := remote.Image(parse(t, ref))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(back); err != nil {
		t.Error(err)
	}
	got, err := s.Get(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if text := readFile(t, got, "hello"); text != "hi" {
		t.Errorf("hello is %q", text)
	}
	push(t, host+"/other/web:1.0", img) // all its content is there
	if images, err := s.List(t.Context()); err != nil || len(images) != 2 || images[0].Digest != images[1].Digest {
		t.Errorf("list: %v, %v", images, err)
	}
}

func TestRegistryPushesIndex(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	host := serve(t, s)
	ours, err := mutate.Config(imageOf(t, tarOf(t, map[string]string{"a": "ours"})), v1.Config{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := mutate.ConfigFile(ours, &v1.ConfigFile{OS: "linux", Architecture: "s390x", RootFS: rootFSOf(t, ours)})
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
		mutate.IndexAddendum{Add: ours, Descriptor: v1.Descriptor{Platform: &s.opt.Platform}})
	ref := host + "/multi:1"
	if err := remote.WriteIndex(parse(t, ref), index); err != nil {
		t.Fatal(err)
	}
	img, err := s.Get(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := index.Digest()
	if img.Digest != digest.String() || img.Manifest == img.Digest || readFile(t, img, "a") != "ours" {
		t.Errorf("image is %+v", img)
	}
}

func rootFSOf(t *testing.T, img v1.Image) v1.RootFS {
	t.Helper()
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return cfg.RootFS
}

func TestRegistryListsAndDeletes(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	host := serve(t, s)
	img := imageOf(t, tarOf(t, map[string]string{"a": "1"}))
	for _, tag := range []string{"c", "a", "b"} {
		push(t, host+"/app:"+tag, img)
	}
	repository, err := name.NewRepository(host + "/app")
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(repository, remote.WithPageSize(2))
	if err != nil || !slices.Equal(tags, []string{"a", "b", "c"}) {
		t.Errorf("tags are %v, %v", tags, err)
	}
	reg, _ := name.NewRegistry(host)
	repos, err := remote.Catalog(t.Context(), reg)
	if err != nil || !slices.Equal(repos, []string{"app"}) {
		t.Errorf("catalog is %v, %v", repos, err)
	}
	if err := remote.Delete(parse(t, host+"/app:b")); err != nil {
		t.Fatal(err)
	}
	if tags, err = remote.List(repository); err != nil || !slices.Equal(tags, []string{"a", "c"}) {
		t.Errorf("tags are %v, %v", tags, err)
	}
	digest, _ := img.Digest()
	if err := remote.Delete(parse(t, host+"/app@"+digest.String())); err != nil {
		t.Fatal(err)
	}
	if images, err := s.List(t.Context()); err != nil || len(images) != 0 {
		t.Errorf("images after delete: %v, %v", images, err)
	}
}

// TestRegistryIsMirror pulls an image of another registry's name through a node that has it.
func TestRegistryIsMirror(t *testing.T) {
	origin := startRegistry(t)
	ref := origin + "/lib/app:1"
	push(t, ref, imageOf(t, tarOf(t, map[string]string{"a": "1"})))
	first := openStore(t, t.TempDir(), Options{})
	img, err := first.Pull(t.Context(), ref, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	second := openStore(t, t.TempDir(), Options{Transport: only(serve(t, first))})
	mirror := serve(t, first)
	second.opt.Transport = only(mirror)
	got, err := second.Pull(t.Context(), ref+"@"+img.Digest, PullOptions{Mirrors: []string{"localhost:1", mirror}})
	if err != nil || got.Digest != img.Digest {
		t.Errorf("pull through mirror: %v, %v", got, err)
	}
}

// only is a transport that reaches one host.
type only string

func (o only) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != string(o) {
		return nil, fmt.Errorf("dial %s: not reachable in this test", r.URL.Host)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestRegistryProtocol is a script of raw requests: what well-behaved clients never send, and chunked uploads.
func TestRegistryProtocol(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	h := s.Handler()
	data := []byte("some content")
	digest := digestOf(data)
	location := ""
	do := func(method, path, body string, header ...string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest(method, "http://localhost:7070"+path, strings.NewReader(body))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if l := w.Header().Get("Location"); l != "" {
			location = l
		}
		return w
	}
	check := func(w *httptest.ResponseRecorder, status int, contains string) {
		t.Helper()
		if w.Code != status || !strings.Contains(w.Body.String(), contains) {
			t.Errorf("answer is %d %s, want %d %s", w.Code, w.Body, status, contains)
		}
	}
	check(do("GET", "/v2/", ""), 200, "")
	check(do("GET", "/v1/", ""), 404, "UNSUPPORTED")
	check(do("DELETE", "/v2/app/blobs/"+digest, ""), 405, "UNSUPPORTED")
	check(do("GET", "/v2/app/blobs/"+digest, ""), 404, "BLOB_UNKNOWN")
	check(do("GET", "/v2/app/blobs/sha512:00", ""), 400, "DIGEST_INVALID")
	check(do("GET", "/v2/../../etc/manifests/passwd", ""), 400, "NAME_INVALID")
	check(do("GET", "/v2/app/manifests/..", ""), 400, "TAG_INVALID")
	check(do("GET", "/v2/app/manifests/none", ""), 404, "MANIFEST_UNKNOWN")
	check(do("GET", "/v2/app/tags/list", ""), 404, "NAME_UNKNOWN")
	check(do("PATCH", "/v2/app/blobs/uploads/AAAAAAAAAAAAAAAAAAAAAAAAAA", "x"), 404, "BLOB_UPLOAD_UNKNOWN")
	check(do("PATCH", "/v2/app/blobs/uploads/../../x", "x"), 404, "")

	check(do("POST", "/v2/app/blobs/uploads/", ""), 202, "")
	check(do("PATCH", location, "some ", "Content-Range", "0-4"), 202, "")
	check(do("PATCH", location, "content", "Content-Range", "9-15"), 416, "BLOB_UPLOAD_INVALID")
	check(do("PATCH", location, "content", "Content-Range", "x-y"), 400, "BLOB_UPLOAD_INVALID")
	check(do("GET", location, ""), 204, "")
	if got := do("GET", location, "").Header().Get("Range"); got != "0-4" {
		t.Errorf("range is %s", got)
	}
	check(do("PATCH", strings.Replace(location, "/app/", "/other/", 1), "x"), 404, "BLOB_UPLOAD_UNKNOWN")
	check(do("PUT", location+"?digest="+digest, "content", "Content-Range", "5-11"), 201, "")
	check(do("PUT", location+"?digest="+digest, ""), 405, "") // location is the content's now
	check(do("GET", "/v2/app/blobs/"+digest, "", "Range", "bytes=5-6"), 206, "co")
	check(do("GET", "/v2/app/blobs/"+digest, "", "Range", "bytes=99-"), 416, "")
	check(do("GET", "/v2/app/manifests/"+digest, ""), 404, "MANIFEST_UNKNOWN")

	check(do("POST", "/v2/app/blobs/uploads/?digest="+digest, "other"), 400, "DIGEST_INVALID")
	check(do("POST", "/v2/app/blobs/uploads/?digest=sha256:zz", "other"), 400, "DIGEST_INVALID")
	check(do("POST", "/v2/app/blobs/uploads/?mount="+digest+"&from=x", ""), 201, "")
	check(do("POST", "/v2/app/blobs/uploads/", ""), 202, "")
	check(do("DELETE", location, ""), 204, "")
	check(do("GET", location, ""), 404, "BLOB_UPLOAD_UNKNOWN")

	check(do("PUT", "/v2/app/manifests/1", "{"), 400, "MANIFEST_INVALID")
	check(do("PUT", "/v2/app/manifests/1", `{"schemaVersion":1}`), 400, "schema version")
	check(do("PUT", "/v2/app/manifests/"+digest, "{}"), 400, "DIGEST_INVALID")
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":1},"layers":[{"digest":%q,"size":1}]}`, digest, digestOf(nil))
	check(do("PUT", "/v2/app/manifests/1", manifest), 404, "MANIFEST_BLOB_UNKNOWN")
	manifest = fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":1},"layers":[]}`, digest)
	check(do("PUT", "/v2/app/manifests/1", manifest), 400, "parse image config")
	check(do("PUT", "/v2/app/manifests/1", strings.Repeat(" ", maxManifest+2)), 413, "SIZE_INVALID")
	check(do("DELETE", "/v2/app/manifests/1", ""), 404, "MANIFEST_UNKNOWN")
	if images, err := s.List(t.Context()); err != nil || len(images) != 0 {
		t.Errorf("images: %v, %v", images, err)
	}
}

// TestRegistryUploadSurvivesBrokenConnection resumes an upload whose client broke off in a chunk.
func TestRegistryUploadSurvivesBrokenConnection(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	h := s.Handler()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/v2/app/blobs/uploads/", nil))
	location := w.Header().Get("Location")
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("PATCH", location, io.MultiReader(strings.NewReader("half "), brokenReader{})))
	if w.Code != http.StatusBadRequest {
		t.Errorf("broken chunk: %d", w.Code)
	}
	data := []byte("half and half")
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("PUT", location+"?digest="+digestOf(data), bytes.NewReader(data[5:])))
	if w.Code != http.StatusCreated {
		t.Errorf("finish: %d %s", w.Code, w.Body)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzRoute(f *testing.F) {
	for _, seed := range []string{"/v2/", "/v2/a/b/blobs/sha256:00", "/v2/a/blobs/uploads/X", "/v2/a/manifests/1", "/v2/a/tags/list", "/v2/_catalog"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := parseRoute(path)
		if err != nil {
			return
		}
		if strings.Contains(r.name, "..") || strings.Contains(r.arg, "/") || strings.HasPrefix(r.name, "/") {
			t.Errorf("%q is taken as %+v", path, r)
		}
	})
}

func FuzzRanges(f *testing.F) {
	for _, seed := range []string{"0-4", "bytes 100-199/200", "bytes=1-2", "-1--1", "9223372036854775807-9223372036854775807"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if start, end, ok := parseChunk(text); ok && (start < 0 || end < start || end-start+1 <= 0) {
			t.Errorf("chunk %q is %d to %d", text, start, end)
		}
		if start, ok := rangeStart(text); ok && start < 0 {
			t.Errorf("range %q starts at %d", text, start)
		}
	})
}
