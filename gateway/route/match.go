package route

import "strings"

// prefixes are the routes of one host, by path.
type prefixes struct {
	byPath map[string]*Route
	depth  int // most segments that a path in byPath has
}

func (p *prefixes) add(r *Route) {
	p.byPath[r.Path] = r
	p.depth = max(p.depth, segments(r.Path))
}

func segments(path string) int {
	if path == "/" {
		return 0
	}
	return strings.Count(path, "/")
}

// find returns the route with the longest prefix of path. Its cost depends on the depth of the host's deepest route,
// not on how many routes there are nor on the length of path.
func (p *prefixes) find(path string) *Route {
	if p == nil {
		return nil
	}
	for prefix := cut(path, p.depth); ; {
		if prefix == "" {
			return p.byPath["/"]
		}
		if r := p.byPath[prefix]; r != nil {
			return r
		}
		prefix = prefix[:strings.LastIndexByte(prefix, '/')]
	}
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
// sent, without the query), or nil. An exact host goes before a wildcard and that before any host; within one, the
// longest path; a host whose paths do not match leaves the request to the next. Match allocates only when host or path
// are not in normal form.
func (t *Table) Match(host, path string) *Route {
	host, path = Host(host), Path(path)
	if r := t.exact[host].find(path); r != nil {
		return r
	}
	if i := strings.IndexByte(host, '.'); i > 0 {
		if r := t.wildcard[host[i:]].find(path); r != nil {
			return r
		}
	}
	return t.any.find(path)
}

// index adds r to the maps that Match reads. It reports false when another route has the same host and path.
func (t *Table) index(r *Route) bool {
	p := t.hostPrefixes(r.Host)
	if p.byPath[r.Path] != nil {
		return false
	}
	p.add(r)
	return true
}

func (t *Table) hostPrefixes(host string) *prefixes {
	into, key := t.exact, host
	switch {
	case host == "":
		if t.any == nil {
			t.any = &prefixes{byPath: map[string]*Route{}}
		}
		return t.any
	case strings.HasPrefix(host, "*."):
		into, key = t.wildcard, host[1:]
	}
	if into[key] == nil {
		into[key] = &prefixes{byPath: map[string]*Route{}}
	}
	return into[key]
}
