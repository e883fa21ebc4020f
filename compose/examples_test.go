package compose_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/holdfast/holdfast/compose"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// TestExamples loads every example, and checks it against the schema that editors use.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "examples"))); err != nil {
		t.Fatal(err)
	}
	makeSecrets(t, filepath.Join(dir, "arcade", "secrets"), "db_password", "jwt_key")
	names, err := filepath.Glob(filepath.Join(dir, "*", "compose.yaml"))
	if err != nil || len(names) < 20 {
		t.Fatalf("%d examples: %v", len(names), err)
	}
	s := wholeSchema(t)
	ports := map[uint16]string{}
	for _, name := range names {
		example := filepath.Base(filepath.Dir(name))
		t.Run(example, func(t *testing.T) {
			p, err := compose.Load(t.Context(), compose.Options{Files: []string{name}, Profiles: []string{"debug"}})
			if err != nil {
				t.Fatal(err)
			}
			if p.Name != example {
				t.Errorf("the app is named %s", p.Name)
			}
			for _, spec := range p.Deployment.Services {
				if _, ok := p.Sources[spec.Name]; !ok {
					t.Errorf("%s needs a registry for %s", spec.Name, spec.Image)
				}
				for _, port := range spec.Ports {
					if other := ports[port.Published]; other != "" && port.Published != 0 {
						t.Errorf("port %d is that of example %s", port.Published, other)
					}
					ports[port.Published] = example
				}
			}
			checkExample(t, s, name)
		})
	}
}

func makeSecrets(t *testing.T, dir string, names ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func checkExample(t *testing.T, s *jsonschema.Schema, name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(data), "# ") || !strings.Contains(string(data), "$schema=../../compose/x-holdfast.schema.json") {
		t.Error("the file does not begin by saying what it shows, or has no schema for editors")
	}
	data = []byte(strings.ReplaceAll(string(data), "!override", ""))
	var tree any
	if err := yaml.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(value); err != nil {
		t.Errorf("schema: %v", err)
	}
}

// wholeSchema compiles the schema for editors, with the Compose Specification's from compose-go in it.
func wholeSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	for name, text := range map[string]string{
		"https://raw.githubusercontent.com/compose-spec/compose-spec/main/schema/compose-spec.json": schema.Schema,
		"https://holdfast.dev/schema/x-holdfast.json":                                               string(compose.XHoldfastSchema),
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if name != "https://holdfast.dev/schema/x-holdfast.json" {
			delete(doc.(map[string]any), "$id") // it is known by where it is read from
		}
		if err := c.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("https://holdfast.dev/schema/x-holdfast.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemaOfWholeFile checks that the schema for editors refuses what Load refuses around x-holdfast.
func TestSchemaOfWholeFile(t *testing.T) {
	s := wholeSchema(t)
	for text, want := range map[string]bool{
		`{"services": {"web": {"image": "web", "x-holdfast": {"route": "/"}}}}`:                             true,
		`{"services": {"web": {"image": "web", "x-holdfast": {"rout": "/"}}}}`:                              false,
		`{"services": {"web": {"image": "web"}}, "x-holdfast": {"kind": "stateful"}}`:                       false,
		`{"services": {"web": {"imag": "web"}}}`:                                                            false,
		`{"jobs": {"a": {"image": "a", "triggers": {"manual": true}, "x-holdfast": {"go": "."}}}}`:          true,
		`{"jobs": {"a": {"image": "a", "triggers": {"manual": true}, "x-holdfast": {"route": "/"}}}}`:       false,
		`{"services": {"web": {"image": "web", "x-holdfast": {"health": {"readiness": {"tcp": "no"}}}}}}`:   false,
		`{"services": {"web": {"image": "web", "x-holdfast": {"health": {"readiness": {"tcp": 80}}}}}}`:     true,
		`{"services": {"web": {"image": "web", "x-other": 5}}, "x-any": {"x-holdfast": "not looked into"}}`: true,
	} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(value); (err == nil) != want {
			t.Errorf("%s: %v, want taken %v", text, err, want)
		}
	}
}
