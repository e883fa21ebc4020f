package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// named matches what the documents write as code and what looks like a path of the repository.
var named = regexp.MustCompile("`((?:[a-z][a-zA-Z0-9_.-]*/)+[a-zA-Z0-9_.-]*|[A-Z]+\\.md|[a-z]+\\.go)`")

// link matches relative links of Markdown.
var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

const root = "../.."

func documents(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(root + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Glob(root + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(all, docs...)
}

func TestFilesNamedInDocumentsExist(t *testing.T) {
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			top, _, _ := strings.Cut(m[1], "/")
			if _, err := os.Stat(filepath.Join(root, top)); err != nil && strings.Contains(m[1], "/") {
				continue // a path of the user's machine, a URL, an image
			}
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s, which does not exist", filepath.Base(doc), m[1])
			}
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", filepath.Base(doc), m[1])
			}
		}
	}
}
