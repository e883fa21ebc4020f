package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/apitest"
)

// FuzzQuery sends any query, and any body, to every kind of route: nothing a caller sends may make the agent fail.
func FuzzQuery(f *testing.F) {
	a := apitest.Start(f)
	srv, err := api.New(a.Config())
	if err != nil {
		f.Fatal(err)
	}
	h := srv.Handler()
	targets := []string{
		"GET /v1/events", "GET /v1/apps/a/logs", "GET /v1/replicas", "GET /v1/routes/match", "PUT /v1/apps/a",
		"DELETE /v1/apps/a", "POST /v1/apps/a/services/b/scale", "POST /v1/replicas/r/signal", "POST /v1/replicas/r/exec",
		"GET /v1/replicas/r/files", "POST /v1/replicas/r/forward", "POST /v1/images/pull", "GET /v1/images/inspect",
	}
	for i := range targets {
		f.Add(uint8(i), "since=2026-01-02T00:00:00Z&tail=-1&service=a&service=b&dryRun=true&port=80&path=/&ref=x", `{"name":"a","services":[]}`)
	}
	f.Add(uint8(1), "since=notatime&tail=1e9&follow=maybe", "")
	f.Add(uint8(0), "app=%zz&&=&tail=99999999999999999999", "null")
	f.Fuzz(func(t *testing.T, n uint8, query, body string) {
		method, path, _ := strings.Cut(targets[int(n)%len(targets)], " ")
		if v, err := url.ParseQuery(query); err == nil && v.Get("follow") != "" {
			return // goes on for as long as the caller stays
		}
		req := httptest.NewRequest(method, path, strings.NewReader(body))
		req.URL.RawQuery = query
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%s %s?%s %s: %d %s", method, path, query, body, w.Code, w.Body)
		}
	})
}
