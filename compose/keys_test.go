package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/holdfast/holdfast"
	"go.yaml.in/yaml/v4"
)

// rowOf returns the row of the table that a path falls under, and whether it is that very path's.
func rowOf(pattern string) *Key {
	r := keyTree()
	for part := range strings.SplitSeq(pattern, ".") {
		if r.key != nil && r.key.State != Honoured {
			return r.key
		}
		next := r.next[part]
		if next == nil {
			next = r.next["*"]
		}
		if next == nil {
			return nil
		}
		r = next
	}
	return r.key
}

func TestKeysCoverTheSchema(t *testing.T) {
	known := map[string]bool{}
	for _, p := range schema.AttributePaths() {
		known[string(p)] = true
		if rowOf(string(p)) == nil {
			t.Errorf("no row for %s, a key of the Compose Specification", p)
		}
	}
	seen := map[string]bool{}
	for _, k := range Keys() {
		if !known[k.Path] && !strings.HasSuffix(k.Path, "pre_start.[].*") {
			t.Errorf("row %s is no key of the Compose Specification", k.Path)
		}
		if seen[k.Path] {
			t.Errorf("two rows for %s", k.Path)
		}
		seen[k.Path] = true
		if k.State != Honoured && k.Note == "" {
			t.Errorf("%s is %s without a word why", k.Path, k.State)
		}
	}
}

// sink reads a file of testdata/keys twice over: once with its services as services, once with all that jobs can have
// as jobs.
func sink(t *testing.T, name string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "keys", name))
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := yaml.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	only, _ := root["x-service-only"].(map[string]any)
	delete(root, "x-service-only")
	jobs := clone(root).(map[string]any)
	services := root["services"].(map[string]any)
	for name, s := range only {
		services[name] = s
	}
	asJobs := clone(jobs["services"]).(map[string]any)
	for _, j := range asJobs {
		j.(map[string]any)["triggers"] = map[string]any{"manual": true}
		delete(j.(map[string]any), "volumes_from") // of services only
	}
	jobs["jobs"], jobs["services"] = asJobs, map[string]any{"server": map[string]any{"image": "server"}}
	if other, ok := asJobs["inline"]; ok {
		// a job takes volumes from a service
		jobs["services"].(map[string]any)["giver"] = map[string]any{"image": "giver", "volumes": []any{"data:/data:ro"}}
		other.(map[string]any)["volumes_from"] = []any{"giver"}
	}
	return []map[string]any{root, jobs}
}

// loadTree loads a tree as compose.yaml of the current directory.
func loadTree(t *testing.T, tree map[string]any) (*Project, error) {
	t.Helper()
	data, err := yaml.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("compose.yaml", data, 0o644); err != nil {
		t.Fatal(err)
	}
	return Load(t.Context(), Options{Env: []string{"TOKEN=token"}, Platform: "linux/amd64"})
}

// keyFiles makes the files that testdata/keys names, and changes to their directory.
func keyFiles(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"included.yaml":       "services: {included: {image: 'i:${FROM_ENV_FILE}', volumes: ['./x:/x:ro']}}",
		"included.env":        "FROM_ENV_FILE=yes",
		"elsewhere/x":         "",
		"elsewhere/.env":      "FROM_ENV_FILE=default",
		".env":                "DOTENV=1",
		"quoted.env":          "Q='quoted'",
		"labels.env":          "from_file=1",
		"content":             "content",
		"app/Containerfile":   "FROM scratch",
		"app/Dockerfile":      "FROM scratch",
		"Dockerfile":          "FROM scratch",
		"Containerfile":       "FROM scratch",
		"base.yaml":           "services: {base: {image: base}}",
		"src/file":            "",
		"elsewhere/more/file": "",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// places returns the concrete paths in tree that a pattern stands for.
func places(tree any, pattern []string, at keyPath) []keyPath {
	if len(pattern) == 0 {
		return []keyPath{at}
	}
	var out []keyPath
	switch v := tree.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			if pattern[0] == key || pattern[0] == "*" {
				out = append(out, places(v[key], pattern[1:], at.at(key))...)
			}
		}
	case []any:
		if pattern[0] == "[]" {
			for i, item := range v {
				out = append(out, places(item, pattern[1:], at.at(i))...)
			}
		}
	}
	return out
}

// without returns a copy of tree that lacks what is at a path.
func without(tree map[string]any, at keyPath) map[string]any {
	out := clone(tree).(map[string]any)
	parent, _ := lookup(out, at[:len(at)-1])
	if m, ok := parent.(map[string]any); ok {
		delete(m, at[len(at)-1])
	}
	return out
}

func outcome(t *testing.T, p *Project, err error) string {
	t.Helper()
	if err != nil {
		return "error: " + err.Error()
	}
	data, err := json.Marshal([]any{p.Deployment, p.Sources})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// onlyOneValue are keys that take nothing but what is so anyway; another value must be refused.
var onlyOneValue = map[string]any{
	"networks.*.ipam.driver": "custom",
	"services.*.platform":    "linux/s390x",
	"jobs.*.platform":        "linux/s390x",
}

// TestKeysHonoured takes each honoured key out of a file that has them all: the deployment must change.
func TestKeysHonoured(t *testing.T) {
	h := &honouring{sinks: sink(t, "honoured.yaml"), whole: map[string]string{}}
	keyFiles(t)
	for _, s := range h.sinks {
		if _, err := loadTree(t, s); err != nil {
			t.Fatalf("Load of all honoured keys: %v", err)
		}
	}
	for _, k := range Keys() {
		if k.State == Honoured {
			t.Run(k.Path, func(t *testing.T) { h.check(t, k) })
		}
	}
}

type honouring struct {
	sinks []map[string]any
	whole map[string]string // what each narrowed sink gives
}

func (h *honouring) check(t *testing.T, k Key) {
	found := false
	for i, s := range h.sinks {
		for _, at := range places(s, strings.Split(k.Path, "."), nil) {
			found = true
			narrow, name := narrowed(s, at)
			name = fmt.Sprint(i, name)
			if h.whole[name] == "" {
				p, err := loadTree(t, narrow)
				if err != nil {
					t.Fatalf("Load of %s alone: %v", name, err)
				}
				h.whole[name] = outcome(t, p, err)
			}
			changed := without(narrow, at)
			if v, ok := onlyOneValue[k.Path]; ok {
				parent, _ := lookup(changed, at[:len(at)-1])
				parent.(map[string]any)[at[len(at)-1]] = v
			}
			p, err := loadTree(t, changed)
			if outcome(t, p, err) != h.whole[name] {
				return
			}
		}
	}
	if !found {
		t.Errorf("testdata/keys/honoured.yaml does not use it")
	} else {
		t.Errorf("taking it out changes nothing: it is not honoured")
	}
}

// narrowed drops services and jobs that a path has nothing to do with, for loading all of them takes long.
func narrowed(tree map[string]any, at keyPath) (map[string]any, string) {
	if len(at) < 3 || at[0] != "services" && at[0] != "jobs" {
		return tree, ""
	}
	out := clone(tree).(map[string]any)
	for _, section := range []string{"services", "jobs"} {
		entries, _ := out[section].(map[string]any)
		for name := range entries {
			if !slices.Contains([]string{at[1], "other", "giver", "server"}, name) {
				delete(entries, name)
			}
		}
	}
	return out, at[:2].String()
}

// TestKeysRefused loads a file with all refused keys: each must be named by an error.
func TestKeysRefused(t *testing.T) {
	sinks := sink(t, "refused.yaml")
	keyFiles(t)
	named := map[*Key]bool{}
	for _, s := range sinks {
		_, err := loadTree(t, s)
		var problems Problems
		if !errors.As(err, &problems) {
			t.Fatalf("Load: %v", err)
		}
		for _, p := range problems {
			if p.Kind != holdfast.ErrUnsupported {
				t.Errorf("not a matter of support: %v", p)
			} else if k := rowOf(patternOf(p.Path)); k != nil && p.Line > 0 && p.File == "compose.yaml" {
				named[k] = true
			} else {
				t.Errorf("no row, or no line: %v", p)
			}
		}
	}
	checkNamed(t, Refused, named)
}

// TestKeysNoted loads a file with all noted keys: each must be named by a note.
func TestKeysNoted(t *testing.T) {
	sinks := sink(t, "noted.yaml")
	keyFiles(t)
	named := map[*Key]bool{}
	for _, s := range sinks {
		p, err := loadTree(t, s)
		if err != nil {
			t.Fatalf("Load: %v", err)
		}
		for _, n := range p.Notes {
			if k := rowOf(patternOf(n.Path)); k != nil && k.State == Noted {
				named[k] = true
			}
		}
	}
	checkNamed(t, Noted, named)
}

func checkNamed(t *testing.T, state State, named map[*Key]bool) {
	t.Helper()
	var paths []string
	for k := range named {
		paths = append(paths, k.Path)
	}
	for _, k := range Keys() {
		if k.State == state && !slices.Contains(paths, k.Path) {
			t.Errorf("%s is said to be %s, and is not", k.Path, state)
		}
	}
}

// patternOf turns "services.web.ports[0]" into "services.web.ports.[]"; names are taken by the table's wildcards.
func patternOf(path string) string {
	var out []string
	for _, part := range parsePath(path) {
		if isIndex(part) {
			part = "[]"
		}
		out = append(out, part)
	}
	return strings.Join(out, ".")
}
