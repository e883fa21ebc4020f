package route

import "strings"

// paths are the routes of one host: lists of those with the same path, in the order in which they are tried.
type paths struct {
	prefix   map[string][]*Route
	depth    int // most segments that a path in prefix has
	exact    map[string][]*Route
	patterns []*Route
}

func (p *paths) add(r *Route) {
	switch {
	case r.pattern != nil:
		p.patterns = append(p.patterns, r)
	case r.Exact:
		p.exact[r.Path] = append(p.exact[r.Path], r)
	default:
		p.prefix[r.Path] = append(p.prefix[r.Path], r)
		p.depth = max(p.depth, segments(r.Path))
	}
}

func segments(path string) int {
	if path == "/" {
		return 0
	}
	return strings.Count(path, "/")
}

// find returns the first route that takes path and, when req is given, the rest of the request. Its cost depends on the
// depth of the host's deepest route and how many expressions it has, not on how many routes there are nor, without
// expressions, on the length of path.
func (p *paths) find(path string, req *Request) *Route {
	if p == nil {
		return nil
	}
	if len(p.exact) > 0 {
		if r := first(p.exact[path], req); r != nil {
			return r
		}
	}
	for _, r := range p.patterns {
		if r.pattern.MatchString(path) && r.takes(req) {
			return r
		}
	}
	for prefix := cut(path, p.depth); ; {
		if prefix == "" {
			return first(p.prefix["/"], req)
		}
		if r := first(p.prefix[prefix], req); r != nil {
			return r
		}
		prefix = prefix[:strings.LastIndexByte(prefix, '/')]
	}
}

func first(list []*Route, req *Request) *Route {
	for _, r := range list {
		if r.takes(req) {
			return r
		}
	}
	return nil
}

// cut returns the first n segments of path, which starts with "/".
func cut(path string, n int) string {
	for i := 0; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		if n == 0 {
			return path[:i]
		}
		n--
	}
	return path
}

// Match returns the route that takes a request for host (of its Host header; port and case do not matter) and path (as
// sent, without the query), or nil, as if it had all else that routes ask for: when that is more, Std is set and Select
// knows. Match allocates only when host or path are not in normal form.
func (t *Table) Match(host, path string) *Route { return t.Select(host, path, nil) }

// Select is Match for a request that is there in full. An exact host goes before a wildcard and that before any host;
// within one, an exact path, then expressions, then the longest prefix; within one, the route that asks for more. A host
// none of whose routes takes the request leaves it to the next.
func (t *Table) Select(host, path string, req *Request) *Route {
	host, path = Host(host), Path(path)
	if r := t.exact[host].find(path, req); r != nil {
		return r
	}
	if i := strings.IndexByte(host, '.'); i > 0 {
		if r := t.wildcard[host[i:]].find(path, req); r != nil {
			return r
		}
	}
	return t.any.find(path, req)
}

// index fills the maps that Select reads from Routes, which are in the order in which they are tried.
func (t *Table) index() {
	for _, r := range t.Routes {
		t.hostPaths(r.Host).add(r)
	}
}

func (t *Table) hostPaths(host string) *paths {
	into, key := t.exact, host
	switch {
	case host == "":
		if t.any == nil {
			t.any = newPaths()
		}
		return t.any
	case strings.HasPrefix(host, "*."):
		into, key = t.wildcard, host[1:]
	}
	if into[key] == nil {
		into[key] = newPaths()
	}
	return into[key]
}

func newPaths() *paths { return &paths{prefix: map[string][]*Route{}, exact: map[string][]*Route{}} }
