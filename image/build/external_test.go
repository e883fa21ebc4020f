package build

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/holdfast/holdfast"
)

func needBuildah(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("buildah"); err != nil {
		t.Skip("buildah is not installed")
	}
}

func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBuildFromScratch(t *testing.T) {
	needBuildah(t)
	dir := writeFiles(t, map[string]string{
		"Dockerfile": "FROM scratch AS one\nCOPY hello /hello\nARG who\nENV WHO=$who\nHEALTHCHECK CMD [\"/hello\"]\n" +
			"FROM scratch\nCOPY hello /never\n",
		"hello": "hi",
	})
	src := holdfast.ImageSource{Ref: "holdfast.local/test/scratch", Build: &holdfast.BuildSource{
		Context: dir, Target: "one", Args: map[string]string{"who": "me"}, Labels: map[string]string{"a": "b"},
	}}
	cache := t.TempDir()
	res, img := importInto(t, src, Options{CacheDir: cache})
	c := img.Config.Config
	if c.Labels["a"] != "b" || !strings.Contains(strings.Join(c.Env, " "), "WHO=me") || c.Healthcheck == nil {
		t.Errorf("config is %+v", c)
	}
	again, err := Build(t.Context(), src, Options{CacheDir: cache, Has: func(ref string) bool { return ref == res.Ref }})
	if err != nil || again.Ref != res.Ref || again.Path != "" {
		t.Errorf("second build: %+v, %v", again, err)
	}
}

// TestBuildFromLocalRegistry builds on an image of a registry on this machine, with a RUN step and a secret.
func TestBuildFromLocalRegistry(t *testing.T) {
	needBuildah(t)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("busybox is not installed")
	}
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	base := strings.TrimPrefix(srv.URL, "http://") + "/base:1"
	pushBase(t, base, busybox)
	dir := writeFiles(t, map[string]string{
		"Dockerfile": "ARG base\nFROM $base\nRUN --mount=type=secret,id=pw cp /run/secrets/pw /copied && id -u > /uid\n",
		"password":   "s3cret",
	})
	_, img := importInto(t, holdfast.ImageSource{Ref: "holdfast.local/test/based", Build: &holdfast.BuildSource{
		Context: dir, Args: map[string]string{"base": base},
		Secrets: []holdfast.BuildSecret{{ID: "pw", File: filepath.Join(dir, "password")}},
	}}, Options{})
	if len(img.Layers) != 2 {
		t.Errorf("%d layers, want 2", len(img.Layers))
	}
}

func pushBase(t *testing.T, ref, busybox string) {
	t.Helper()
	data, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range []tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(data))},
		{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "busybox"},
		{Name: "bin/cp", Typeflag: tar.TypeSymlink, Linkname: "busybox"},
		{Name: "bin/id", Typeflag: tar.TypeSymlink, Linkname: "busybox"},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			tw.Write(data)
		}
	}
	tw.Close()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{Env: []string{"PATH=/bin"}}})
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.AppendLayers(img, static.NewLayer(buf.Bytes(), types.DockerUncompressedLayer)); err != nil {
		t.Fatal(err)
	}
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
}

func TestBuildErrors(t *testing.T) {
	needBuildah(t)
	dir := writeFiles(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY nothere /\n"})
	_, err := Build(t.Context(), holdfast.ImageSource{Ref: "holdfast.local/a/b", Build: &holdfast.BuildSource{Context: dir}}, Options{CacheDir: t.TempDir()})
	if holdfast.KindOf(err) != holdfast.ErrInvalid || !strings.Contains(err.Error(), "nothere") {
		t.Errorf("missing file: %v", err)
	}
	_, err = Build(t.Context(), holdfast.ImageSource{Ref: "holdfast.local/a/b", Build: &holdfast.BuildSource{Context: t.TempDir()}}, Options{CacheDir: t.TempDir()})
	if holdfast.KindOf(err) != holdfast.ErrInvalid || !strings.Contains(err.Error(), "Dockerfile") {
		t.Errorf("missing Dockerfile: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err = Build(t.Context(), holdfast.ImageSource{Ref: "holdfast.local/a/b", Build: &holdfast.BuildSource{Context: dir}}, Options{CacheDir: t.TempDir()})
	if holdfast.KindOf(err) != holdfast.ErrUnsupported || !strings.Contains(err.Error(), "apt-get install buildah") {
		t.Errorf("no builder: %v", err)
	}
}
