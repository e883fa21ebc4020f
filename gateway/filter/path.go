package filter

import (
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdfast/holdfast"
)

// path rewrites paths.
type path struct {
	from, to string // prefix
	regexp   *regexp.Regexp
	normal   func(string) string
}

func newPath(r *holdfast.Route, normal func(string) string) (*path, error) {
	switch rw := r.Rewrite; {
	case rw == nil:
		return &path{}, nil
	case rw.Regexp == "":
		return &path{from: strings.TrimRight(r.PathPrefix, "/"), to: strings.TrimRight(rw.Prefix, "/"), normal: normal}, nil
	case checkPattern(rw.Regexp) != nil:
		return nil, checkPattern(rw.Regexp)
	default:
		re, err := regexp.Compile(rw.Regexp)
		if err != nil {
			return nil, fmt.Errorf("compile rewrite: %w", err)
		}
		return &path{regexp: re, to: rw.To, normal: normal}, nil
	}
}

// Rewrite returns what a replica of r sees of path p, in normal form. It is p when r's rules cannot be compiled.
func Rewrite(r *holdfast.Route, p string) string {
	rules, err := newPath(r, func(p string) string { return p })
	if err != nil {
		return p
	}
	return rules.rewrite(p)
}

// rewrite returns p rewritten; it starts with "/".
func (p *path) rewrite(text string) string {
	switch {
	case p.regexp != nil:
		text = p.regexp.ReplaceAllString(p.normal(text), p.to)
	case p.to != p.from:
		text = p.to + strings.TrimPrefix(p.normal(text), p.from)
	default:
		return text
	}
	if !strings.HasPrefix(text, "/") {
		return "/" + text
	}
	return text
}

// redirect answers with another place for the request.
type redirect struct {
	*holdfast.Redirect
	path  *path
	strip func(string) string
}

func (c *Chain) redirect(r *holdfast.Route, opt Options) (layer, error) {
	if r.Redirect == nil {
		return nil, nil
	}
	strip := func(p string) string { return p }
	if prefix := strings.TrimRight(r.PathPrefix, "/"); r.Strip && prefix != "" {
		strip = func(p string) string { return strings.TrimPrefix(opt.Normal(p), prefix) }
	}
	return &redirect{r.Redirect, c.path, strip}, nil
}

func (d *redirect) serve(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	w.Header().Set("Location", d.location(r))
	answer(w, d.Code, http.StatusText(d.Code))
}

// location is always an absolute URL: a path that starts with "//" would name a host.
func (d *redirect) location(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if d.Scheme != "" {
		scheme = d.Scheme
	}
	to := d.Path
	if to == "" {
		if to = d.path.rewrite(d.strip(r.URL.EscapedPath())); !strings.HasPrefix(to, "/") {
			to = "/" + to
		}
	}
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	return scheme + "://" + d.authority(r) + to
}

func (d *redirect) authority(r *http.Request) string {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil && (d.Scheme != "" || d.Port != 0) {
		host = name
		if strings.Contains(name, ":") {
			host = "[" + name + "]"
		}
	}
	if d.Host != "" {
		host = d.Host
	}
	if d.Port != 0 {
		host += ":" + strconv.Itoa(int(d.Port))
	}
	return host
}
