package compose

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// routes reads x-holdfast's route: "host/path", a mapping, or a list of them. Contents that routes need are added to files.
func (e *entry) routes(files map[string]holdfast.File) {
	x, _ := e.c.Extensions["x-holdfast"].(map[string]any)
	v, ok := x["route"]
	if !ok {
		return
	}
	where := at("x-holdfast", "route")
	if e.job {
		e.bad(where, "a job has no routes: it ends")
		return
	}
	if e.spec.NetworkMode != "" {
		e.bad(where, "needs a network of the service's own: not with network_mode %s", e.spec.NetworkMode)
	}
	list, isList := v.([]any)
	if !isList {
		e.spec.Routes = e.route(where, v, nil, files)
		return
	}
	if len(list) == 0 {
		e.bad(where, "is empty: give host/path, or leave it out")
	}
	for i, item := range list {
		e.spec.Routes = e.route(append(where, i), item, e.spec.Routes, files)
	}
	slices.SortStableFunc(e.spec.Routes, func(a, b holdfast.Route) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.PathPrefix, b.PathPrefix))
	})
}

// route appends one route to list.
func (e *entry) route(where []any, v any, list []holdfast.Route, files map[string]holdfast.File) []holdfast.Route {
	out := holdfast.Route{}
	before := len(e.problems)
	switch v := v.(type) {
	case string:
		out.Host, out.PathPrefix = splitRoute(v)
		if strings.TrimSpace(v) == "" {
			e.bad(where, "is empty: write host/path, such as example.com or /api")
			return list
		}
	case map[string]any:
		e.routeKeys(&routeReader{e.read(where, v), files}, &out)
	default:
		e.bad(where, "must be host/path, or a mapping with host, path, port and more")
		return list
	}
	if !out.Exact {
		out.PathPrefix = strings.TrimRight(out.PathPrefix, "/")
	}
	e.checkRoute(where, &out)
	if len(e.problems) > before {
		return list
	}
	if slices.ContainsFunc(list, func(r holdfast.Route) bool { return routeName(r) == routeName(out) }) {
		e.bad(where, "%s is routed twice", routeName(out))
		return list
	}
	return append(list, out)
}

// routeReader reads the mapping of a route.
type routeReader struct {
	*reader
	files map[string]holdfast.File
}

// laterRouteKeys are keys of a route that later versions will fill.
var laterRouteKeys = []string{"split", "mirror"}

func (e *entry) routeKeys(r *routeReader, out *holdfast.Route) {
	out.Host, out.PathPrefix, out.Strip = r.text("host"), r.text("path"), r.flag("strip")
	port, _ := r.number("port", 1, 65535)
	out.Port = uint16(port)
	r.match(out)
	r.change(out)
	r.protect(out)
	r.answers(out)
	r.tls(out)
	for _, key := range laterRouteKeys {
		if _, ok := r.get(key); ok {
			e.cannot(r.at(key), "is not in this version yet: take it out")
		}
	}
	r.done()
}

// match reads what a request must have.
func (r *routeReader) match(out *holdfast.Route) {
	out.Exact = r.flag("exact")
	out.Regexp = r.pattern("regexp")
	if out.Regexp != "" && (out.PathPrefix != "" || out.Exact || out.Strip) {
		r.e.bad(r.at("regexp"), "takes the place of path, exact and strip: give one")
	}
	if out.Exact && out.PathPrefix == "" {
		r.e.bad(r.at("exact"), "needs a path")
	}
	out.Methods = r.methods("methods")
	slices.Sort(out.Methods)
	out.Headers = r.conditions("headers", func(name string) bool {
		return isToken(name) && !strings.EqualFold(name, "host")
	}, http.CanonicalHeaderKey)
	out.Query = r.conditions("query", func(name string) bool { return name != "" }, func(name string) string { return name })
}

var httpMethod = regexp.MustCompile(`^[A-Z][A-Z-]{0,31}$`)

func (r *reader) methods(key string) []string {
	list := r.texts(key)
	for i, m := range list {
		if !httpMethod.MatchString(m) || m == "CONNECT" || slices.Index(list, m) < i {
			r.e.bad(r.at(key, i), "%q is no method such as GET, or is there twice", m)
		}
	}
	if list != nil && len(list) == 0 {
		r.e.bad(r.at(key), "is empty: leave it out for all")
	}
	return list
}

// maxPattern bounds the length of a regular expression.
const maxPattern = 1024

func (r *reader) pattern(key string) string {
	text := r.text(key)
	if text == "" {
		return ""
	}
	if len(text) > maxPattern {
		r.e.bad(r.at(key), "has %d bytes: a regular expression has at most %d", len(text), maxPattern)
	} else if _, err := regexp.Compile(text); err != nil {
		r.e.bad(r.at(key), "is not a regular expression (RE2): %v", err)
	}
	return text
}

// conditions reads a mapping from a name to a value, {regexp: …} or {} for any value.
func (r *reader) conditions(key string, valid func(string) bool, canonical func(string) string) []holdfast.RouteCondition {
	v, ok := r.get(key)
	if !ok {
		return nil
	}
	var out []holdfast.RouteCondition
	m := r.e.read(r.at(key), v)
	for _, name := range sortedKeys(m.m) {
		if !valid(name) {
			r.e.bad(m.at(name), "%q cannot be asked for by that name", name)
		}
		c := holdfast.RouteCondition{Name: canonical(name)}
		if text, ok := m.m[name].(string); ok && text != "" {
			c.Value = text
		} else {
			o := r.e.read(m.at(name), m.m[name])
			c.Regexp = o.pattern("regexp")
			o.done()
		}
		out = append(out, c)
	}
	return out
}

// splitRoute splits "host/path"; a text that starts with / has no host.
func splitRoute(text string) (host, path string) {
	if i := strings.IndexByte(text, '/'); i >= 0 {
		return text[:i], text[i:]
	}
	return text, ""
}

func (e *entry) checkRoute(where []any, r *holdfast.Route) {
	host := strings.TrimPrefix(r.Host, "*.")
	switch {
	case strings.Contains(r.Host, ":"):
		e.bad(where, "%q: a route has no scheme and no port of the gateway's; write the host name alone", r.Host)
		return
	case r.Host != "" && (host == "" || !validHostname(host)):
		e.bad(where, "%q is not a host name; * may stand for the first label only", r.Host)
		return
	}
	r.Host = strings.ToLower(r.Host)
	if r.PathPrefix != "" && !strings.HasPrefix(r.PathPrefix, "/") || strings.ContainsAny(r.PathPrefix, "?#* \r\n") {
		e.bad(where, "path %q must start with / and is a prefix of whole segments: no wildcards, no query", r.PathPrefix)
		return
	}
	if r.Port != 0 {
		return
	}
	port, ok := e.onlyPort()
	if !ok && (e.cut(e.at.at("ports")) || e.cut(e.at.at("expose"))) {
		return
	}
	if !ok {
		e.bad(where, "which port? The service does not expose exactly one: give port: <number>, or one port under expose")
		return
	}
	r.Port = port
}

// routeName tells a route from those that take other requests.
func routeName(r holdfast.Route) string {
	name := cmp.Or(r.Host, "any host") + cmp.Or(r.PathPrefix, r.Regexp, "/")
	switch {
	case r.Exact:
		name += " (the whole path)"
	case r.Regexp != "":
		name += " (an expression)"
	}
	if len(r.Methods) > 0 {
		name += " " + strings.Join(r.Methods, ",")
	}
	for _, c := range slices.Concat(r.Headers, r.Query) {
		name += " " + c.Name + "=" + cmp.Or(c.Value, c.Regexp, "*")
	}
	return name
}
