package route

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/gateway/filter"
)

// Request is what routes may ask for beside host and path.
type Request struct {
	Method   string
	Header   http.Header
	RawQuery string

	query url.Values // of RawQuery, once it was asked for
}

func (r *Request) values(name string) []string {
	if r.query == nil {
		r.query, _ = url.ParseQuery(r.RawQuery)
	}
	return r.query[name]
}

// asks is what a route asks for beside host and path.
type asks struct {
	methods        []string
	headers, query []condition
	cors           bool // preflights are taken for the request that they announce
}

// condition asks for a value; with neither a value nor a pattern any will do.
type condition struct {
	holdfast.RouteCondition
	pattern *regexp.Regexp
}

func (c condition) holds(values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool {
		switch {
		case c.pattern != nil:
			return c.pattern.MatchString(v)
		case c.Value != "":
			return v == c.Value
		}
		return true
	})
}

func (c condition) String() string {
	switch {
	case c.Regexp != "":
		return c.Name + "~" + c.Regexp
	case c.Value != "":
		return c.Name + "=" + c.Value
	}
	return c.Name
}

// maxPattern bounds the length of an expression.
const maxPattern = 1024

// compileWhole compiles an expression that must match all of a text.
func compileWhole(text string) (*regexp.Regexp, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("the regular expression has %d bytes: at most %d", len(text), maxPattern)
	}
	return regexp.Compile(`^(?:` + text + `)$`)
}

// newRoute makes a route of a service's, without its backend.
func newRoute(spec *holdfast.Route) (*Route, error) {
	r := &Route{
		Host: strings.ToLower(spec.Host), Path: pathOf(spec), Exact: spec.Exact, Strip: spec.Strip, Spec: spec, name: nameOf(spec),
	}
	var err error
	if spec.Regexp != "" {
		if r.pattern, err = compileWhole(spec.Regexp); err != nil {
			return nil, err
		}
	}
	r.asks.methods, r.asks.cors = spec.Methods, spec.CORS != nil
	if r.asks.headers, err = conditions(spec.Headers); err != nil {
		return nil, err
	}
	if r.asks.query, err = conditions(spec.Query); err != nil {
		return nil, err
	}
	r.Std = r.asks.any() || filter.Needed(spec) || spec.Timeout > 0 || spec.Retries != nil
	return r, nil
}

func conditions(list []holdfast.RouteCondition) ([]condition, error) {
	var out []condition
	for _, c := range list {
		one := condition{RouteCondition: c}
		if c.Regexp != "" {
			var err error
			if one.pattern, err = compileWhole(c.Regexp); err != nil {
				return nil, err
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func pathOf(spec *holdfast.Route) string {
	switch {
	case spec.Regexp != "":
		return "/"
	case spec.Exact:
		return Path(spec.PathPrefix)
	}
	return "/" + strings.Trim(spec.PathPrefix, "/")
}

// nameOf returns what tells a route from all others: equal names, equal requests.
func nameOf(spec *holdfast.Route) string {
	var b strings.Builder
	b.WriteString(cmp.Or(strings.ToLower(spec.Host), "*"))
	switch {
	case spec.Regexp != "":
		b.WriteString(" ~" + spec.Regexp)
	case spec.Exact:
		b.WriteString(" =" + pathOf(spec))
	default:
		b.WriteString(pathOf(spec))
	}
	if len(spec.Methods) > 0 {
		b.WriteString(" " + strings.Join(spec.Methods, ","))
	}
	for _, c := range spec.Headers {
		b.WriteString(" header " + condition{RouteCondition: c}.String())
	}
	for _, c := range spec.Query {
		b.WriteString(" query " + condition{RouteCondition: c}.String())
	}
	return b.String()
}

func (a *asks) any() bool { return len(a.methods)+len(a.headers)+len(a.query) > 0 }

// takes reports whether r takes a request whose host and path it takes. Without a request it does.
func (r *Route) takes(req *Request) bool { return req == nil || !r.asks.any() || r.refuses(req) == "" }

// refuses says why r does not take a request, or "".
func (r *Route) refuses(req *Request) string {
	a, method := &r.asks, req.Method
	preflight := a.cors && filter.Preflight(req.Method, req.Header)
	if preflight {
		method = req.Header.Get("Access-Control-Request-Method")
	}
	if len(a.methods) > 0 && !slices.Contains(a.methods, method) {
		return fmt.Sprintf("method %s is not %s", method, strings.Join(a.methods, " or "))
	}
	for _, c := range a.headers {
		if !preflight && !c.holds(req.Header.Values(c.Name)) {
			return "it has no header " + c.String()
		}
	}
	for _, c := range a.query {
		if !c.holds(req.values(c.Name)) {
			return "its query has no " + c.String()
		}
	}
	return ""
}

// before orders the routes of one host as they are tried.
func before(a, b *Route) int {
	return cmp.Or(
		cmp.Compare(a.kind(), b.kind()),
		-cmp.Compare(len(a.pathText()), len(b.pathText())),
		cmp.Compare(a.pathText(), b.pathText()),
		-cmp.Compare(min(len(a.asks.methods), 1), min(len(b.asks.methods), 1)),
		-cmp.Compare(len(a.asks.headers), len(b.asks.headers)),
		-cmp.Compare(len(a.asks.query), len(b.asks.query)),
		cmp.Compare(a.name, b.name),
	)
}

func (r *Route) kind() int {
	switch {
	case r.Exact:
		return 0
	case r.pattern != nil:
		return 1
	}
	return 2
}

func (r *Route) pathText() string {
	if r.pattern != nil {
		return r.Spec.Regexp
	}
	return r.Path
}

// hasPath reports whether r takes path.
func (r *Route) hasPath(path string) bool {
	switch {
	case r.pattern != nil:
		return r.pattern.MatchString(path)
	case r.Exact:
		return r.Path == path
	}
	return hasPrefix(path, r.Path)
}
