package api_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast/holdfast/api/apitest"
)

type operationDoc struct {
	OperationID string
	Summary     string
	Tags        []string
	Parameters  []struct {
		Name, In string
		Required bool
	}
	RequestBody *struct{ Content map[string]json.RawMessage }
	Responses   map[string]struct {
		Description string
		Content     map[string]struct{ Schema json.RawMessage }
	}
}

// TestDocument holds the OpenAPI document to what makes it one that clients can be made of.
func TestDocument(t *testing.T) {
	a := apitest.Start(t)
	d := readDocument(t, a.Client)
	if d.OpenAPI != "3.1.0" || len(d.Paths) < 25 {
		t.Fatalf("OpenAPI %s with %d paths", d.OpenAPI, len(d.Paths))
	}
	ids := map[string]string{}
	for path, methods := range d.Paths {
		for method, raw := range methods {
			name := strings.ToUpper(method) + " " + path
			var op operationDoc
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			checkOperation(t, name, path, op)
			if other := ids[op.OperationID]; other != "" {
				t.Errorf("%s and %s are both called %s", name, other, op.OperationID)
			}
			ids[op.OperationID] = name
		}
	}
	checkRefs(t, d)
}

var pathParam = regexp.MustCompile(`\{(\w+)\}`)

func checkOperation(t *testing.T, name, path string, op operationDoc) {
	t.Helper()
	if op.OperationID == "" || op.Summary == "" || len(op.Tags) != 1 {
		t.Errorf("%s lacks an ID, summary or tag: %+v", name, op)
	}
	declared := map[string]bool{}
	for _, p := range op.Parameters {
		if p.In == "path" {
			declared[p.Name] = p.Required
		}
	}
	for _, m := range pathParam.FindAllStringSubmatch(path, -1) {
		if !declared[m[1]] {
			t.Errorf("%s does not declare its parameter %s", name, m[1])
		}
		delete(declared, m[1])
	}
	if len(declared) > 0 {
		t.Errorf("%s declares parameters that its path lacks: %v", name, declared)
	}
	checkResponses(t, name, op)
}

func checkResponses(t *testing.T, name string, op operationDoc) {
	t.Helper()
	good := 0
	for status, r := range op.Responses {
		if r.Description == "" {
			t.Errorf("%s: answer %s has no description", name, status)
		}
		if status[0] == '4' || status[0] == '5' {
			if _, ok := r.Content["application/problem+json"]; !ok {
				t.Errorf("%s: answer %s is no problem", name, status)
			}
			continue
		}
		good++
		if status == "200" && len(r.Content) != 1 {
			t.Errorf("%s: answer 200 has %d content types", name, len(r.Content))
		}
		for ct, c := range r.Content {
			if len(c.Schema) == 0 {
				t.Errorf("%s: answer %s as %s has no schema", name, status, ct)
			}
		}
	}
	if good != 1 {
		t.Errorf("%s has %d good answers", name, good)
	}
}

var ref = regexp.MustCompile(`"\$ref":"([^"]+)"`)

func checkRefs(t *testing.T, d document) {
	t.Helper()
	all, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, m := range ref.FindAllStringSubmatch(string(all), -1) {
		name, ok := strings.CutPrefix(m[1], "#/components/schemas/")
		if _, there := d.Components.Schemas[name]; !ok || !there {
			t.Errorf("reference to %s, which is not there", m[1])
		}
		used[name] = true
	}
	for name := range d.Components.Schemas {
		if !used[name] && name != fmt.Sprint("ErrorModel") {
			t.Errorf("schema %s is used nowhere", name)
		}
	}
}
