package route

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
)

// TestSelect shows the order in which routes are tried.
func TestSelect(t *testing.T) {
	cond := func(name, value, pattern string) []holdfast.RouteCondition {
		return []holdfast.RouteCondition{{Name: name, Value: value, Regexp: pattern}}
	}
	table := build(
		app("any", holdfast.Route{Port: 1}),
		app("a", holdfast.Route{Host: "a.test", PathPrefix: "/x", Port: 1},
			holdfast.Route{Host: "a.test", PathPrefix: "/x/y", Exact: true, Port: 1},
			holdfast.Route{Host: "a.test", Regexp: "/x/[a-z]+", Port: 1},
			holdfast.Route{Host: "a.test", Regexp: "/x/[a-z]+[0-9]", Port: 1},
			holdfast.Route{Host: "a.test", PathPrefix: "/x/long/prefix", Port: 1}),
		app("b", holdfast.Route{Host: "b.test", Port: 1},
			holdfast.Route{Host: "b.test", Methods: []string{"POST", "PUT"}, Port: 1},
			holdfast.Route{Host: "b.test", Headers: cond("X-Canary", "1", ""), Port: 1},
			holdfast.Route{Host: "b.test", Headers: cond("X-Canary", "", ""), Query: cond("v", "", "[0-9]+"), Port: 1},
			holdfast.Route{Host: "b.test", PathPrefix: "/only", Query: cond("q", "z", ""), Port: 1}),
		app("c", holdfast.Route{Host: "c.test", Methods: []string{"PUT"}, Port: 1}),
		app("cors", holdfast.Route{Host: "d.test", Methods: []string{"PUT"}, Headers: cond("X-A", "1", ""), CORS: &holdfast.CORS{}, Port: 1}),
	)
	for _, c := range []struct{ request, header, want string }{
		{"GET a.test/x", "", "a.test/x"},
		{"GET a.test/x/y", "", "a.test =/x/y"},
		{"GET a.test/x/%79", "", "a.test =/x/y"},
		{"GET a.test/x/y/", "", "a.test/x"},
		{"GET a.test/x/abc", "", "a.test ~/x/[a-z]+"},
		{"GET a.test/x/abc1", "", "a.test ~/x/[a-z]+[0-9]"},
		{"GET a.test/x/abc12", "", "a.test/x"},
		{"GET a.test/x/long/prefix/1", "", "a.test/x/long/prefix"},
		{"GET b.test/", "", "b.test/"},
		{"PUT b.test/", "", "b.test/ POST,PUT"},
		{"PUT b.test/", "X-Canary: 1", "b.test/ POST,PUT"},
		{"GET b.test/", "x-canary: 1", "b.test/ header X-Canary=1"},
		{"GET b.test/", "X-Canary: 2", "b.test/"},
		{"GET b.test/?v=12", "X-Canary: 1", "b.test/ header X-Canary query v~[0-9]+"},
		{"GET b.test/?v=12b", "X-Canary: 1", "b.test/ header X-Canary=1"},
		{"GET b.test/?w=1&v=12", "X-Canary: 2", "b.test/ header X-Canary query v~[0-9]+"},
		{"GET b.test/only?q=z", "", "b.test/only query q=z"},
		{"GET b.test/only?q=y", "", "b.test/"},
		{"PUT c.test/", "", "c.test/ PUT"},
		{"GET c.test/", "", "*/"},
		{"OPTIONS d.test/", "Origin: https://x\nAccess-Control-Request-Method: PUT", "d.test/ PUT header X-A=1"},
		{"OPTIONS d.test/", "Origin: https://x\nAccess-Control-Request-Method: POST", "*/"},
		{"OPTIONS d.test/", "", "*/"},
	} {
		method, target, _ := strings.Cut(c.request, " ")
		target, query, _ := strings.Cut(target, "?")
		host, path, _ := strings.Cut(target, "/")
		h := http.Header{}
		for line := range strings.Lines(c.header) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			h.Add(name, value)
		}
		req := &Request{Method: method, Header: h, RawQuery: query}
		got := table.Select(host, "/"+path, req)
		if got == nil || got.String() != c.want {
			t.Errorf("%s, %q: %v, want %s", c.request, c.header, got, c.want)
			continue
		}
		e := table.Explain(host, "/"+path, req)
		if e.Route != got || len(e.Candidates) == 0 {
			t.Errorf("%s: explained as %v", c.request, e)
		}
		if first := table.Match(host, "/"+path); first != got && !first.Std {
			t.Errorf("%s: the loops take it for %s", c.request, first)
		}
	}
}

func TestBadRouteIsAProblem(t *testing.T) {
	table := build(app("a", holdfast.Route{Regexp: "[", Port: 1},
		holdfast.Route{Headers: []holdfast.RouteCondition{{Name: "A", Regexp: strings.Repeat("a", maxPattern+1)}}, Port: 1},
		holdfast.Route{PathPrefix: "/good", Port: 1}))
	if len(table.Problems) != 2 || len(table.Routes) != 1 {
		t.Errorf("problems %v, routes %v", table.Problems, table.Routes)
	}
}

func TestExplainSaysWhatARouteAsksFor(t *testing.T) {
	table := build(
		app("a", holdfast.Route{Port: 1}),
		app("b", holdfast.Route{Methods: []string{"PUT"}, Port: 1}),
		app("c", holdfast.Route{Headers: []holdfast.RouteCondition{{Name: "X-A"}}, Port: 1}),
		app("d", holdfast.Route{Regexp: "/[0-9]+", Port: 1}),
		app("e", holdfast.Route{PathPrefix: "/e", Exact: true, Port: 1}),
		app("f", holdfast.Route{PathPrefix: "/f", Rewrite: &holdfast.PathRewrite{Prefix: "/g"}, MaxBodyBytes: 5, Port: 1}),
	)
	want := `request    x/f/1
route      */f → f/web, path /g/1
on the way takes bodies of at most 5 bytes
replica    none ready: the request is held
considered * =/e (e/web): path "/f/1" is not "/e"
considered * ~/[0-9]+ (d/web): path "/f/1" does not match
considered */f (f/web): taken: the most exact host, then the longest path
considered */ PUT (b/web): method GET is not PUT
considered */ header X-A (c/web): it has no header X-A
considered */ (a/web): its path is shorter
`
	if got := table.Explain("x", "/f/1", nil).String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
