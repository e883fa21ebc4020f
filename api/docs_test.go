package api_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast/holdfast/api/apitest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite docs/api.md's table of operations")

// TestDocs holds docs/api.md to the OpenAPI document: its table of operations is made of it (go test -rewrite).
func TestDocs(t *testing.T) {
	const mark = "<!-- What follows is made of the OpenAPI document: go test ./api -rewrite -->\n"
	path := filepath.Join("..", "docs", "api.md")
	text, err := os.ReadFile(path)
	check(t, err)
	head, _, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("%s lacks the line %s", path, mark)
	}
	want := head + mark + "\n## Operations\n\n| request | | query |\n|---|---|---|\n" + operationTable(t)
	if *rewrite {
		check(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	if want != string(text) {
		t.Error("docs/api.md is not what the document says: go test ./api -rewrite")
	}
}

func operationTable(t *testing.T) string {
	t.Helper()
	d := readDocument(t, apitest.Start(t).Client)
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			var op operationDoc
			check(t, json.Unmarshal(d.Paths[path][method], &op))
			var query []string
			for _, p := range op.Parameters {
				if p.In == "query" {
					query = append(query, "`"+p.Name+"`")
				}
			}
			fmt.Fprintf(&b, "| `%s %s` | %s | %s |\n", strings.ToUpper(method), path, op.Summary, strings.Join(query, ", "))
		}
	}
	return b.String()
}
