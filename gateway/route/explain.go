package route

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast/holdfast/gateway/filter"
)

// Explanation says which route takes a request, and why no other does.
type Explanation struct {
	Host       string      `json:"host"` // as matched
	Path       string      `json:"path"` // as matched
	Route      *Route      `json:"-"`    // nil: 404
	Taken      string      `json:"route,omitempty"`
	Forwarded  string      `json:"forwarded,omitempty"` // the path the replica sees
	Steps      []string    `json:"steps,omitempty"`     // what is done on the way
	Candidates []Candidate `json:"candidates"`          // every route that was considered, in the order they are tried

	req *Request
}

// Candidate is a route that was considered.
type Candidate struct {
	Route   string `json:"route"`
	Service string `json:"service"` // app/service
	Why     string `json:"why"`
}

// Explain says what Select does with a request and why. Routes of other hosts are left out unless none matches.
func (t *Table) Explain(host, path string, req *Request) Explanation {
	if req == nil {
		req = &Request{Method: http.MethodGet}
	}
	e := Explanation{Host: Host(host), Path: Path(path), Route: t.Select(host, path, req), req: req}
	if e.Route != nil {
		e.Taken = e.Route.String()
		e.Forwarded = e.Route.StripPath(path)
		if e.Route.Spec.Rewrite != nil {
			e.Forwarded = filter.Rewrite(e.Route.Spec, Path(e.Forwarded))
		}
		e.Steps = filter.Describe(e.Route.Spec)
	}
	for _, r := range t.considered(e) {
		e.Candidates = append(e.Candidates, Candidate{
			Route: r.String(), Service: r.Backend.App + "/" + r.Backend.Service, Why: why(e, r),
		})
	}
	return e
}

func (t *Table) considered(e Explanation) []*Route {
	var of []*Route
	for _, r := range t.Routes {
		if e.Route == nil || hostMatches(r.Host, e.Host) {
			of = append(of, r)
		}
	}
	slices.SortStableFunc(of, func(a, b *Route) int {
		return cmp.Or(cmp.Compare(hostRank(a.Host), hostRank(b.Host)), before(a, b))
	})
	return of
}

func hostRank(host string) int {
	switch {
	case host == "":
		return 2
	case strings.HasPrefix(host, "*."):
		return 1
	}
	return 0
}

func hostMatches(pattern, host string) bool {
	switch hostRank(pattern) {
	case 2:
		return true
	case 1:
		i := strings.IndexByte(host, '.')
		return i > 0 && host[i:] == pattern[1:]
	}
	return pattern == host
}

func why(e Explanation, r *Route) string {
	switch {
	case r == e.Route:
		return "taken: " + taken(r)
	case !hostMatches(r.Host, e.Host):
		return fmt.Sprintf("host %q is not %q", e.Host, r.Host)
	case r.pattern != nil && !r.hasPath(e.Path):
		return fmt.Sprintf("path %q does not match", e.Path)
	case r.Exact && !r.hasPath(e.Path):
		return fmt.Sprintf("path %q is not %q", e.Path, r.Path)
	case !r.hasPath(e.Path):
		return fmt.Sprintf("path %q is not below %q", e.Path, r.Path)
	case !r.takes(e.req):
		return r.refuses(e.req)
	case hostRank(r.Host) > hostRank(e.Route.Host):
		return "its host is less exact"
	case r.kind() > e.Route.kind():
		return "a " + [...]string{"whole path", "expression"}[e.Route.kind()] + " goes before"
	case len(r.pathText()) < len(e.Route.pathText()):
		return "its path is shorter"
	}
	return "it asks for less"
}

func taken(r *Route) string {
	text := "the most exact host, then "
	switch {
	case r.pattern != nil:
		text += "an expression of the path"
	case r.Exact:
		text += "the whole path"
	default:
		text += "the longest path"
	}
	if r.asks.any() {
		text += ", and all else that it asks for"
	}
	return text
}

// String prints the explanation, one line each: the request, the route and its replicas, the routes passed over.
func (e Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "request    %s%s\n", e.Host, e.Path)
	if e.Route == nil {
		b.WriteString("route      none: 404\n")
	} else {
		be := e.Route.Backend
		fmt.Fprintf(&b, "route      %s → %s/%s, path %s\n", e.Route, be.App, be.Service, e.Forwarded)
		for _, step := range e.Steps {
			fmt.Fprintf(&b, "on the way %s\n", step)
		}
		for _, ep := range be.Endpoints {
			fmt.Fprintf(&b, "replica    %s, release %d, %s\n", ep.Replica, ep.Release, ep.Addr)
		}
		if len(be.Endpoints) == 0 {
			fmt.Fprintf(&b, "replica    none ready: %s\n", cmp.Or(be.Idle, "the request is held"))
		}
	}
	for _, c := range e.Candidates {
		fmt.Fprintf(&b, "considered %s (%s): %s\n", c.Route, c.Service, c.Why)
	}
	return b.String()
}
