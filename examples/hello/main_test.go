package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSite(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GREETING", "good day")
	t.Setenv("VERSION", "7")
	t.Setenv("DATA", dir)
	t.Setenv("SHOW", filepath.Join(dir, "visits"))
	server := httptest.NewServer(newSite().routes())
	defer server.Close()
	t.Setenv("PEER", server.URL+"/visits")
	for _, step := range []struct{ path, want string }{
		{"/any", "good day from"}, {"/any", "version 7, path /any"}, {"/healthz", "ok"}, {"/visits", "visit 1"},
		{"/visits", "visit 2"}, {"/files", "2"}, {"/peer", "heard: visit 3"}, {"/eat?mb=1", "ate 1 MB"},
	} {
		got, err := get(t.Context(), server.URL+step.path)
		if err != nil || !strings.Contains(got, step.want) {
			t.Errorf("GET %s: %q, %v; want %q", step.path, got, err, step.want)
		}
	}
	if err := check(t.Context(), server.URL+"/eat"); err == nil {
		t.Error("check takes a 400 for healthy")
	}
}

func TestReadyAfter(t *testing.T) {
	t.Setenv("READY_AFTER", "1h")
	w := httptest.NewRecorder()
	newSite().healthz(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("ready after %d", w.Code)
	}
}

func TestCommands(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	for _, text := range []string{"one", "two"} {
		if err := run(t.Context(), []string{"append", name, text}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(name)
	if err != nil || strings.Count(string(data), "\n") != 2 || !strings.Contains(string(data), "two") {
		t.Errorf("log is %q, %v", data, err)
	}
	if run(t.Context(), []string{"fail"}) == nil || run(t.Context(), []string{"what"}) == nil {
		t.Error("no error")
	}
	if err := run(t.Context(), []string{"say", "hi"}); err != nil {
		t.Error(err)
	}
}
