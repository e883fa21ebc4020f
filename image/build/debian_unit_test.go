package build

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/image"
)

const hostSources = `# comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://deb.example/node
Suites: nodistro
Components: main
`

const hostList = `deb [arch=amd64 signed-by=/k.gpg] http://security.example/debian-security bookworm-security main # here
deb-src http://security.example/debian-security bookworm-security main
deb https://cloud.example/apt cloud-sdk-bookworm main
deb short
`

func fakeHost(t *testing.T, files map[string]string) debianHost {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h, err := readHost(root)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestSourcesOfHost(t *testing.T) {
	h := fakeHost(t, map[string]string{
		"etc/os-release": "NAME=x\nVERSION_CODENAME=bookworm\n", "etc/apt/sources.list.d/debian.sources": hostSources,
		"etc/apt/sources.list": hostList, // the extension decides: .list
	})
	if h.suite != "bookworm" {
		t.Errorf("suite is %s", h.suite)
	}
	want := `Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /k.gpg
Architectures: amd64

Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

`
	if got := h.sources("bookworm"); got != want {
		t.Errorf("sources:\n%s\nwant:\n%s", got, want)
	}
	trixie := h.sources("trixie")
	for _, part := range []string{"URIs: http://mirror.example/debian\nSuites: trixie trixie-updates\n", "Suites: trixie-security\n"} {
		if !strings.Contains(trixie, part) {
			t.Errorf("sources of another suite:\n%s", trixie)
		}
	}
	if got := fakeHost(t, nil).sources("stable"); !strings.Contains(got, debianMirror) {
		t.Errorf("sources where the host has none:\n%s", got)
	}
}

func TestDebianSourceErrors(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		want string
		src  holdfast.DebianSource
	}{
		{"packages is empty", holdfast.DebianSource{}},
		{`"a b" is not a package`, holdfast.DebianSource{Packages: []string{"a b"}}},
		{"is not a package", holdfast.DebianSource{Packages: []string{"--option"}}},
		{"is not a package", holdfast.DebianSource{Packages: []string{"x,y"}}},
		{`"weird" is not one of extract`, holdfast.DebianSource{Packages: []string{"nginx"}, Variant: "weird"}},
		{"is not a suite", holdfast.DebianSource{Packages: []string{"nginx"}, Suite: "../x"}},
		{"not a clean absolute path", holdfast.DebianSource{Packages: []string{"nginx"}, Copy: map[string]string{"a": dir}}},
		{"not a clean absolute path", holdfast.DebianSource{Packages: []string{"nginx"}, Copy: map[string]string{"/a/../../b": dir}}},
		{"no such file", holdfast.DebianSource{Packages: []string{"nginx"}, Copy: map[string]string{"/a": dir + "/none"}}},
		{"debian.users", holdfast.DebianSource{Packages: []string{"nginx"}, Users: map[string]int{"x'; rm": 1}}},
		{"debian.users", holdfast.DebianSource{Packages: []string{"nginx"}, Users: map[string]int{"x": -1}}},
	}
	for _, test := range tests {
		_, err := Build(t.Context(), holdfast.ImageSource{Ref: "a/b", Debian: &test.src}, Options{CacheDir: dir})
		if !errors.Is(err, holdfast.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.src, err, test.want)
		}
	}
}

func TestDebianExplainsMissingThings(t *testing.T) {
	src := holdfast.ImageSource{Ref: "a/b", Debian: &holdfast.DebianSource{Packages: []string{"no-such-package-x"}}}
	t.Run("package", func(t *testing.T) {
		needMmdebstrap(t)
		_, err := Build(t.Context(), src, Options{CacheDir: t.TempDir()})
		if !errors.Is(err, holdfast.ErrInvalid) || !strings.Contains(err.Error(), `package "no-such-package-x" does not exist in Debian`) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("run", func(t *testing.T) {
		needMmdebstrap(t)
		src := holdfast.ImageSource{Ref: "a/b", Debian: &holdfast.DebianSource{Packages: []string{"netbase"}, Run: []string{"true", "echo oops >&2; exit 3"}}}
		_, err := Build(t.Context(), src, Options{CacheDir: t.TempDir()})
		if !errors.Is(err, holdfast.ErrInvalid) || !strings.Contains(err.Error(), "oops") || !strings.Contains(err.Error(), "debian.run command 2 failed with exit code 3") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("mmdebstrap", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := Build(t.Context(), src, Options{CacheDir: t.TempDir()})
		if !errors.Is(err, holdfast.ErrUnsupported) || !strings.Contains(err.Error(), "apt-get install mmdebstrap") {
			t.Errorf("error is %v", err)
		}
	})
}

// TestKeyFollowsInputs: what the agent has is not built, and each input counts.
func TestKeyFollowsInputs(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page")
	write := func(text string) {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	refFor := func(change func(*holdfast.DebianSource)) string {
		t.Helper()
		src := holdfast.DebianSource{Packages: []string{"nginx-light", "tzdata"}, Copy: map[string]string{"/page": page}}
		change(&src)
		res, err := Build(t.Context(), holdfast.ImageSource{Ref: "a/b", Debian: &src}, Options{CacheDir: dir, Has: func(string) bool { return true }})
		if err != nil || res.Path != "" {
			t.Fatalf("%+v, %v", res, err)
		}
		return res.Ref
	}
	write("one")
	first := refFor(func(*holdfast.DebianSource) {})
	if again := refFor(func(s *holdfast.DebianSource) { slices.Reverse(s.Packages) }); again != first {
		t.Error("the order of packages counts")
	}
	seen := map[string]bool{first: true}
	for i, change := range []func(*holdfast.DebianSource){
		func(s *holdfast.DebianSource) { s.Packages = s.Packages[:1] },
		func(s *holdfast.DebianSource) { s.Suite = "trixie" },
		func(s *holdfast.DebianSource) { s.Variant = "apt" },
		func(s *holdfast.DebianSource) { s.Run = []string{"true"} },
		func(s *holdfast.DebianSource) { s.Users = map[string]int{"me": 1} },
		func(s *holdfast.DebianSource) { s.Copy = map[string]string{"/elsewhere": page} },
		func(*holdfast.DebianSource) { write("two") },
		func(*holdfast.DebianSource) { os.Chmod(page, 0o755) },
	} {
		ref := refFor(change)
		if seen[ref] {
			t.Errorf("change %d does not count", i)
		}
		seen[ref] = true
	}
}

func TestGoImage(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"go.mod": "module example.com/hello\n\ngo 1.24\n", "main.go": "package main\n\nfunc main() { println(\"hi\") }\n",
	})
	src := holdfast.ImageSource{Ref: "holdfast.local/test/go", Go: &holdfast.GoSource{Dir: dir, Package: "."}}
	cache := t.TempDir()
	res, img := importInto(t, src, Options{CacheDir: cache})
	if !slices.Equal(img.Config.Config.Entrypoint, []string{"/hello"}) || img.Config.Config.User != nonroot {
		t.Errorf("config is %+v", img.Config.Config)
	}
	again, err := Build(t.Context(), src, Options{CacheDir: cache, Has: func(ref string) bool { return ref == res.Ref }})
	if err != nil || again != (Result{Ref: res.Ref}) {
		t.Errorf("second build: %+v, %v", again, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() { broken }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Build(t.Context(), src, Options{CacheDir: cache})
	if !errors.Is(err, holdfast.ErrInvalid) || !strings.Contains(err.Error(), "undefined: broken") {
		t.Errorf("broken program: %v", err)
	}
}

func TestTarSource(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.tar")
	if err := os.WriteFile(bad, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, kind := range map[string]error{bad: holdfast.ErrInvalid, dir + "/none": holdfast.ErrInvalid} {
		if _, err := Build(t.Context(), holdfast.ImageSource{Ref: "a/b", Tar: path}, Options{CacheDir: dir}); !errors.Is(err, kind) {
			t.Errorf("%s: %v", path, err)
		}
	}
	good := filepath.Join(dir, "good.tar")
	if err := writeLayout(good, debianConfig); err != nil {
		t.Fatal(err)
	}
	res, err := Build(t.Context(), holdfast.ImageSource{Ref: "a/b", Tar: good}, Options{CacheDir: dir})
	if err != nil || res.Path != good || !strings.HasPrefix(res.Ref, "a/b:") {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestFullDiskDuringBuild builds into a cache on a disk that is too small; the next build, with room, succeeds.
func TestFullDiskDuringBuild(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"go.mod": "module example.com/hello\n\ngo 1.24\n", "main.go": "package main\n\nfunc main() {}\n",
	})
	src := holdfast.ImageSource{Ref: "a/b", Go: &holdfast.GoSource{Dir: dir, Package: "."}}
	cache := smallDisk(t, 1<<20)
	if _, err := Build(t.Context(), src, Options{CacheDir: cache, Progress: func(image.Progress) {}}); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Fatalf("error is %v", err)
	}
	left, err := os.ReadDir(cache)
	if err != nil || len(left) != 0 {
		t.Errorf("the cache keeps %v, %v", left, err)
	}
	grow(t, cache, 64<<20)
	if res, err := Build(t.Context(), src, Options{CacheDir: cache}); err != nil || res.Path == "" {
		t.Errorf("with room: %+v, %v", res, err)
	}
}

// TestFilesAreALayerOfTheirOwn changes a file of an image: the packages' layer stays, and mmdebstrap does not run.
func TestFilesAreALayerOfTheirOwn(t *testing.T) {
	needMmdebstrap(t)
	page := filepath.Join(t.TempDir(), "page")
	build := func(text string) image.Image {
		t.Helper()
		if err := os.WriteFile(page, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		_, img := importInto(t, holdfast.ImageSource{Ref: "a/b", Debian: &holdfast.DebianSource{
			Packages: []string{"netbase"}, Copy: map[string]string{"/bin/page": page},
		}}, Options{CacheDir: sharedCache})
		return img
	}
	one := build("one")
	t.Setenv("PATH", t.TempDir())
	two := build("two")
	if len(one.Layers) != 2 || one.Layers[0] != two.Layers[0] || one.Layers[1] == two.Layers[1] {
		t.Errorf("layers are %v and %v", one.Layers, two.Layers)
	}
}

func TestDebianImageIsReproducible(t *testing.T) {
	needMmdebstrap(t)
	src := holdfast.ImageSource{Ref: "a/b", Debian: &holdfast.DebianSource{Packages: []string{"netbase"}, Run: []string{"date > /built; touch -d @0 /built; : > /built"}}}
	_, one := importInto(t, src, Options{CacheDir: t.TempDir()})
	_, two := importInto(t, src, Options{CacheDir: t.TempDir()})
	if one.Digest != two.Digest {
		t.Errorf("two builds give %s and %s", one.Digest, two.Digest)
	}
}
