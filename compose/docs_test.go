package compose_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast/holdfast/compose"
)

// TestDocs checks that the tables in docs/compose.md are those of the code; -rewrite writes them.
func TestDocs(t *testing.T) {
	name := filepath.Join("..", "docs", "compose.md")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got := between(t, string(data), "<!-- defaults:", defaultsTable())
	got = between(t, got, "<!-- keys:", keysTable())
	if got == string(data) {
		return
	}
	if !*rewrite {
		t.Fatal("docs/compose.md is behind the tables in the code: go test ./compose -rewrite writes it")
	}
	if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

// between replaces what is between a marker's line and the end marker.
func between(t *testing.T, text, marker, table string) string {
	t.Helper()
	start := strings.Index(text, marker)
	if start < 0 {
		t.Fatalf("docs/compose.md has no %s", marker)
	}
	start += strings.IndexByte(text[start:], '\n') + 1
	end := strings.Index(text[start:], "<!-- end -->")
	if end < 0 {
		t.Fatalf("docs/compose.md has no end after %s", marker)
	}
	return text[:start] + table + text[start+end:]
}

func defaultsTable() string {
	var b strings.Builder
	b.WriteString("| key | default | |\n|---|---|---|\n")
	for _, d := range compose.Defaults {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", d.Key, d.Value, d.Why)
	}
	return b.String()
}

// keysTable renders the table of keys. Those of all containers are shown once, for services and jobs.
func keysTable() string {
	var b strings.Builder
	b.WriteString("`<name>` is a name that you choose; `[]` is an item of a list. A noted or refused key stands for all below it. " +
		"What `services.<name>` has from `build` on, `jobs.<name>` has as well.\n\n| key | | |\n|---|---|---|\n")
	services := map[string]bool{}
	for _, k := range compose.Keys() {
		if rest, ok := strings.CutPrefix(k.Path, "services.*."); ok {
			services[rest] = true
		}
		if rest, ok := strings.CutPrefix(k.Path, "jobs.*."); ok && services[rest] && rest != "profiles" {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", keyName(k.Path), k.State, k.Note)
	}
	return b.String()
}

func keyName(path string) string {
	path = strings.ReplaceAll(path, ".[]", "[]")
	if rest, ok := strings.CutSuffix(path, "pre_start[].*"); ok {
		return rest + "pre_start[].<any other key of a container>"
	}
	return strings.ReplaceAll(path, "*", "<name>")
}
