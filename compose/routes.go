package compose

import (
	"cmp"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// routes reads x-holdfast's route: "host/path", a mapping, or a list of them.
func (e *entry) routes() {
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
		e.spec.Routes = e.route(where, v, nil)
		return
	}
	if len(list) == 0 {
		e.bad(where, "is empty: give host/path, or leave it out")
	}
	for i, item := range list {
		e.spec.Routes = e.route(append(where, i), item, e.spec.Routes)
	}
	slices.SortStableFunc(e.spec.Routes, func(a, b holdfast.Route) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.PathPrefix, b.PathPrefix))
	})
}

// route appends one route to list.
func (e *entry) route(where []any, v any, list []holdfast.Route) []holdfast.Route {
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
		r := e.read(where, v)
		out.Host, out.PathPrefix, out.Strip = r.text("host"), r.text("path"), r.flag("strip")
		port, _ := r.number("port", 1, 65535)
		out.Port = uint16(port)
		r.done()
	default:
		e.bad(where, "must be host/path, or a mapping with host, path, port and strip")
		return list
	}
	out.PathPrefix = strings.TrimRight(out.PathPrefix, "/")
	e.checkRoute(where, &out)
	if len(e.problems) > before {
		return list
	}
	if slices.ContainsFunc(list, func(r holdfast.Route) bool { return r.Host == out.Host && r.PathPrefix == out.PathPrefix }) {
		e.bad(where, "%s is routed twice", routeName(out))
		return list
	}
	return append(list, out)
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

func routeName(r holdfast.Route) string {
	return cmp.Or(r.Host, "any host") + cmp.Or(r.PathPrefix, "/")
}
