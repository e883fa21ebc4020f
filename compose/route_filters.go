package compose

import (
	"cmp"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"github.com/holdfast/holdfast"
)

// change reads what a route does to requests and answers.
func (r *routeReader) change(out *holdfast.Route) {
	out.Rewrite = r.rewrite(out)
	out.Redirect = r.redirect()
	out.RequestHeaders = r.edits("request_headers", true)
	out.ResponseHeaders = r.edits("response_headers", false)
}

func (r *routeReader) rewrite(out *holdfast.Route) *holdfast.PathRewrite {
	v, ok := r.get("rewrite")
	if !ok {
		return nil
	}
	o := r.e.read(r.at("rewrite"), v)
	rw := &holdfast.PathRewrite{Prefix: o.text("prefix"), Regexp: o.pattern("regexp"), To: o.text("to")}
	o.done()
	if (rw.Prefix == "") == (rw.Regexp == "") || (rw.To == "") != (rw.Regexp == "") {
		r.e.bad(o.where, "needs prefix, or regexp and to")
	}
	if rw.Prefix != "" && (out.Strip || out.Regexp != "") {
		r.e.bad(o.at("prefix"), "takes the place of the route's path: not with strip or regexp")
	}
	if !validPath(rw.Prefix) || !validPath(rw.To) {
		r.e.bad(o.where, "a path starts with / and has no query")
	}
	return rw
}

var pathText = regexp.MustCompile(`^/[\x21\x22\x24-\x3e\x40-\x7e]*$`)

// validPath reports whether text is "" or a path without query.
func validPath(text string) bool { return text == "" || pathText.MatchString(text) }

var redirectCodes = []int{301, 302, 303, 307, 308}

func (r *routeReader) redirect() *holdfast.Redirect {
	v, ok := r.get("redirect")
	if !ok {
		return nil
	}
	o := r.e.read(r.at("redirect"), v)
	d := &holdfast.Redirect{Scheme: o.text("scheme"), Host: strings.ToLower(o.text("host")), Path: o.text("path")}
	code, given := o.number("code", 301, 308)
	if d.Code = cmp.Or(code, 308); given && !slices.Contains(redirectCodes, code) {
		r.e.bad(o.at("code"), "must be 301, 302, 303, 307 or 308")
	}
	port, _ := o.number("port", 1, 65535)
	d.Port = uint16(port)
	o.done()
	if d.Scheme != "" && d.Scheme != "http" && d.Scheme != "https" {
		r.e.bad(o.at("scheme"), "must be http or https")
	}
	if d.Host != "" && !validHostname(d.Host) {
		r.e.bad(o.at("host"), "%q is not a host name", d.Host)
	}
	if !validPath(d.Path) {
		r.e.bad(o.at("path"), "a path starts with / and has no query")
	}
	return d
}

var token = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

func isToken(s string) bool { return token.MatchString(s) }

// framing are headers about the connection and the body: the gateway's own.
var framing = []string{
	"Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Proxy-Connection", "Te", "Trailer",
	"Content-Encoding",
}

func (r *routeReader) edits(key string, request bool) *holdfast.HeaderEdits {
	v, ok := r.get(key)
	if !ok {
		return nil
	}
	o := r.e.read(r.at(key), v)
	ed := &holdfast.HeaderEdits{Remove: o.texts("remove"), Set: o.fields("set"), Add: o.fields("add")}
	o.done()
	for i, name := range ed.Remove {
		o.headerName(o.at("remove", i), name, false)
	}
	for _, name := range sortedKeys(ed.Set) {
		o.headerName(o.at("set", name), name, request)
	}
	for _, name := range sortedKeys(ed.Add) {
		o.headerName(o.at("add", name), name, false)
	}
	return ed
}

// headerName complains of a header that cannot be edited. Host can be set, in requests.
func (r *reader) headerName(where []any, name string, host bool) {
	switch canonical := http.CanonicalHeaderKey(name); {
	case !isToken(name):
		r.e.bad(where, "%q is not a header's name", name)
	case slices.Contains(framing, canonical) || canonical == "Host" && !host:
		r.e.bad(where, "%s is the gateway's own: it cannot be edited", canonical)
	}
}

// fields reads a mapping from a header's name to its value.
func (r *reader) fields(key string) map[string]string {
	v, ok := r.get(key)
	if !ok {
		return nil
	}
	out := map[string]string{}
	o := r.e.read(r.at(key), v)
	for _, name := range sortedKeys(o.m) {
		value := o.text(name)
		if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			r.e.bad(o.at(name), "has a control character")
		}
		out[name] = value
	}
	return out
}

// protect reads who may ask, and for how much.
func (r *routeReader) protect(out *holdfast.Route) {
	out.Allow, out.Deny = r.prefixes("allow"), r.prefixes("deny")
	out.RateLimit = r.rateLimit()
	out.BasicAuth = r.basicAuth()
	out.CORS = r.cors()
	out.MaxBodyBytes = r.size("max_body", 0)
	out.Timeout = r.duration("timeout", 0, false)
	if v, ok := r.get("retries"); ok {
		o := r.e.read(r.at("retries"), v)
		attempts, _ := o.number("attempts", 1, 10)
		percent, _ := o.number("percent", 1, 100)
		out.Retries = &holdfast.RouteRetries{Attempts: attempts, Percent: percent}
		o.done()
	}
}

// prefixes reads a list of addresses and prefixes.
func (r *reader) prefixes(key string) []string {
	list := r.texts(key)
	for i, text := range list {
		_, err := netip.ParsePrefix(text)
		if !strings.Contains(text, "/") {
			_, err = netip.ParseAddr(text)
		}
		if err != nil || strings.Contains(text, "%") {
			r.e.bad(r.at(key, i), "%q is not an address or a prefix such as 10.0.0.0/8", text)
		}
	}
	if list != nil && len(list) == 0 {
		r.e.bad(r.at(key), "is empty: leave it out")
	}
	return list
}

var sizeText = regexp.MustCompile(`^[1-9][0-9]*([bkmgBKMG][bB]?)?$`)

// size reads a number of bytes: a whole number, or text such as 10m.
func (r *reader) size(key string, otherwise int64) int64 {
	v, ok := r.get(key)
	if !ok {
		return otherwise
	}
	if n, ok := v.(int); ok && n > 0 {
		return int64(n)
	}
	text, _ := v.(string)
	n, err := units.RAMInBytes(text)
	if err != nil || n <= 0 || !sizeText.MatchString(text) {
		r.e.bad(r.at(key), "must be a size above 0 such as 64k or 10m")
		return otherwise
	}
	return n
}

func (r *routeReader) rateLimit() *holdfast.RateLimit {
	v, ok := r.get("rate_limit")
	if !ok {
		return nil
	}
	o := r.e.read(r.at("rate_limit"), v)
	l := &holdfast.RateLimit{By: cmp.Or(o.text("by"), "client"), Header: o.text("header")}
	l.Requests, _ = o.number("requests", 1, 1_000_000)
	l.Per = o.duration("per", defaultRatePer, false)
	burst, _ := o.number("burst", 1, 1_000_000)
	l.Burst = cmp.Or(burst, l.Requests)
	o.done()
	if _, ok := o.m["requests"]; !ok {
		r.e.bad(o.where, "needs requests")
	}
	if !slices.Contains([]string{"client", "route", "header"}, l.By) {
		r.e.bad(o.at("by"), "must be client, route or header")
	}
	if (l.By == "header") != (l.Header != "") || l.Header != "" && !isToken(l.Header) {
		r.e.bad(o.where, "by: header needs header: <name>, and nothing else has one")
	}
	return l
}

func (r *routeReader) cors() *holdfast.CORS {
	v, ok := r.get("cors")
	if !ok {
		return nil
	}
	o := r.e.read(r.at("cors"), v)
	c := &holdfast.CORS{
		Origins: o.texts("origins"), Methods: o.methods("methods"), Headers: o.texts("headers"), Expose: o.texts("expose"),
		Credentials: o.flag("credentials"), MaxAge: o.duration("max_age", 0, false),
	}
	o.done()
	if len(c.Origins) == 0 {
		r.e.bad(o.where, "needs origins")
	}
	for i, origin := range c.Origins {
		if origin != "*" && !originText.MatchString(origin) {
			r.e.bad(o.at("origins", i), `%q is not an origin such as https://example.com, https://*.example.com or "*"`, origin)
		}
	}
	if c.Credentials && slices.Contains(c.Origins, "*") {
		r.e.bad(o.at("credentials"), `any page could act for its reader: name the origins, not "*"`)
	}
	for key, list := range map[string][]string{"headers": c.Headers, "expose": c.Expose} {
		for i, name := range list {
			if !isToken(name) {
				r.e.bad(o.at(key, i), "%q is not a header's name", name)
			}
		}
	}
	return c
}

var originText = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://(\*\.)?[A-Za-z0-9_.-]+(:[0-9]{1,5})?$`)
