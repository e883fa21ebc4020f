package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast/holdfast/api"
)

// rawGets asks for what the client has no method for.
func rawGets(t *testing.T, c *api.Client) {
	t.Helper()
	for path, want := range map[string]string{"/v1/metrics": "holdfast_test 1", "/v1/apps/none/services": "no app", "/openapi.json": "3.1.0"} {
		if got := rawGet(t, c, path); !strings.Contains(got, want) {
			t.Errorf("GET %s gave %.200s", path, got)
		}
	}
}

func rawGet(t *testing.T, c *api.Client, path string) string {
	t.Helper()
	hc := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.Socket())
	}}}
	defer hc.CloseIdleConnections()
	resp, err := hc.Get("http://agent" + path)
	check(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(t, err)
	return string(text)
}

type document struct {
	OpenAPI    string
	Paths      map[string]map[string]json.RawMessage
	Components struct{ Schemas map[string]json.RawMessage }
}

func readDocument(t *testing.T, c *api.Client) document {
	t.Helper()
	var d document
	check(t, json.Unmarshal([]byte(rawGet(t, c, "/openapi.json")), &d))
	return d
}

// operations lists what the document names, as net/http's patterns.
func operations(t *testing.T, c *api.Client) []string {
	t.Helper()
	var out []string
	for path, methods := range readDocument(t, c).Paths {
		for m := range methods {
			out = append(out, strings.ToUpper(m)+" "+path)
		}
	}
	slices.Sort(out)
	return out
}
