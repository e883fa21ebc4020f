package compose_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/compose"
)

func load(t *testing.T, text string, env ...string) (*compose.Project, error) {
	t.Helper()
	return compose.Load(t.Context(), compose.Options{
		Files: []string{"-"}, Stdin: strings.NewReader(text), Env: env, Platform: "linux/amd64",
	})
}

func TestKindsOfError(t *testing.T) {
	_, err := load(t, "services: {web: {image: web, gpus: all}}")
	if !errors.Is(err, holdfast.ErrUnsupported) || errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("a refused key alone: %v", err)
	}
	_, err = load(t, "services: {web: {image: web, gpus: all, prots: []}}")
	if !errors.Is(err, holdfast.ErrUnsupported) || !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("a refused key and a mistake: %v", err)
	}
	var problems compose.Problems
	if !errors.As(err, &problems) || len(problems) != 2 || problems[0].Line != 1 {
		t.Errorf("not two problems on line 1: %#v", err)
	}
}

// TestSecretsAreNotPrinted looks for content of secrets and configs in all that is printed.
func TestSecretsAreNotPrinted(t *testing.T) {
	p, err := load(t, `
services: {web: {image: web, secrets: [token], configs: [text]}}
secrets: {token: {environment: TOKEN}}
configs: {text: {content: "hush-hush config"}}
`, "TOKEN=hush-hush secret")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.Deployment.Files); n != 2 || string(p.Deployment.Files[1].Data) != "hush-hush secret" {
		t.Errorf("the deployment lacks the content: %v", p.Deployment.Files)
	}
	for name, render := range map[string]func(*compose.Project) ([]byte, error){"YAML": compose.Resolved, "JSON": compose.ResolvedJSON} {
		out, err := render(p)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(out, []byte("hush-hush")) || bytes.Contains(out, []byte("aHVzaC1odXNo")) {
			t.Errorf("%s shows content:\n%s", name, out)
		}
		if !bytes.Contains(out, []byte("token")) {
			t.Errorf("%s does not name the secret:\n%s", name, out)
		}
	}
}

func TestTooLarge(t *testing.T) {
	for key, bytes := range map[string]int{"secrets": 500<<10 + 1, "configs": 1<<20 + 1} {
		text := "services: {web: {image: web, " + key + ": [x]}}\n" + key + ": {x: {environment: X}}\n"
		if _, err := load(t, text, "X="+strings.Repeat("x", bytes)); err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("%s of %d bytes: %v", key, bytes, err)
		}
		if _, err := load(t, text, "X="+strings.Repeat("x", bytes-1)); err != nil {
			t.Errorf("%s of %d bytes: %v", key, bytes-1, err)
		}
	}
	if _, err := load(t, strings.Repeat("# no end\n", 2<<20)); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file of 18 MiB: %v", err)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("big", make([]byte, 3<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := load(t, "services: {web: {image: web, configs: [x]}}\nconfigs: {x: {file: big}}")
	if err == nil || !strings.Contains(err.Error(), "at most 1024 KiB") {
		t.Errorf("a config file of 3 MiB: %v", err)
	}
}

// TestSameEachTime loads large files many times: what depends on the order of a map would differ.
func TestSameEachTime(t *testing.T) {
	good, bad := readScript(t, "testdata/good/mastodon.txt"), readScript(t, "testdata/bad/several-mistakes.txt")
	for _, s := range []*script{good, bad} {
		s.unpack(t)
		var first string
		for range 20 {
			p, err := compose.Load(t.Context(), s.opt)
			got := ""
			if err != nil {
				got = err.Error()
			} else if out, err := json.Marshal([]any{p.Deployment, p.Sources, p.Notes}); err != nil {
				t.Fatal(err)
			} else {
				got = string(out)
			}
			if first == "" {
				first = got
			}
			if got != first {
				t.Fatalf("now\n%s\nbefore\n%s", got, first)
			}
		}
	}
}

func TestResolvedJSON(t *testing.T) {
	p, err := load(t, "name: x\nservices: {web: {image: web, x-holdfast: {kind: stateful}}}")
	if err != nil {
		t.Fatal(err)
	}
	out, err := compose.ResolvedJSON(p)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Name     string
		Services map[string]holdfast.Spec
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if s := got.Services["web"]; got.Name != "x" || s.Kind != holdfast.Stateful || s.KindReason != "declared" || s.Process.StopGrace == 0 {
		t.Errorf("got %+v", got)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := compose.Load(ctx, compose.Options{Files: []string{"-"}, Stdin: strings.NewReader("services: {web: {image: web}}")})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestProject checks what Load says of the files.
func TestProject(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "compose.yaml")
	if err := os.WriteFile(file, []byte("services: {web: {image: web}}"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(dir, "sub"))
	p, err := compose.Load(t.Context(), compose.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "shop" || p.Dir != dir || !slices.Equal(p.Files, []string{file}) || p.Deployment.Name != "shop" {
		t.Errorf("got name %s, dir %s, files %v", p.Name, p.Dir, p.Files)
	}
}

// FuzzLoad feeds bytes to Load: it must return, with a project or with an error of a kind.
func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		names, err := filepath.Glob(filepath.Join("testdata", dir, "*.txt"))
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			_, text, _ := strings.Cut(string(data), "-- compose.yaml --\n")
			text, _, _ = strings.Cut(text, "\n-- ")
			f.Add([]byte(text))
		}
	}
	f.Add([]byte("services: {web: &a {image: *a}}"))
	f.Add([]byte("a: &a [*a]\nservices: *a"))
	f.Add([]byte("x: &x {<<: *x}\nservices: {web: *x}"))
	empty := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("/")) {
			return // files of the machine that runs the fuzzer are nobody's business
		}
		p, err := compose.Load(t.Context(), compose.Options{
			Files: []string{"-"}, Stdin: bytes.NewReader(data), ProjectDir: empty, ProjectName: "fuzz", Platform: "linux/amd64",
		})
		if err != nil {
			if holdfast.KindOf(err) == nil {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		if _, err := compose.Resolved(p); err != nil {
			t.Errorf("Resolved: %v", err)
		}
		if _, err := compose.ResolvedJSON(p); err != nil {
			t.Errorf("ResolvedJSON: %v", err)
		}
	})
}
