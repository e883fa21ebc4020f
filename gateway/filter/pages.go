package filter

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
)

// page is the body of an answer.
type page struct {
	kind string
	body []byte
}

// pageTypes are media types by the end of a file's name; others are told from the content.
var pageTypes = map[string]string{
	"html": "text/html; charset=utf-8", "htm": "text/html; charset=utf-8", "json": "application/json",
	"txt": "text/plain; charset=utf-8", "svg": "image/svg+xml", "xml": "application/xml",
}

func newPage(ref holdfast.FileRef, opt Options) (*page, error) {
	body, ok := opt.File(ref)
	if !ok {
		return nil, fmt.Errorf("the content of %s is missing", ref.Name)
	}
	kind := pageTypes[ref.Name[strings.LastIndexAny(ref.Name, "._-")+1:]]
	if kind == "" {
		kind = http.DetectContentType(body)
	}
	return &page{kind: kind, body: body}, nil
}

// write answers with p.
func (p *page) write(w http.ResponseWriter, status int) {
	h := w.Header()
	for _, name := range []string{
		"Content-Encoding", "Content-Range", "Content-Language", "Content-Disposition", "Accept-Ranges", "Etag",
		"Last-Modified", "Trailer", "Transfer-Encoding",
	} {
		h.Del(name)
	}
	h.Set("Content-Type", p.kind)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(p.body)))
	w.WriteHeader(status)
	_, _ = w.Write(p.body)
}

// pages are the pages of a route by status; index 0 to 9 are those of whole classes.
type pages map[int]*page

func errorPages(r *holdfast.Route, opt Options) (layer, error) {
	if len(r.ErrorPages) == 0 {
		return nil, nil
	}
	out := pages{}
	for _, e := range r.ErrorPages {
		p, err := newPage(e.Page, opt)
		if err != nil {
			return nil, err
		}
		status, err := strconv.Atoi(strings.TrimSuffix(e.Status, "xx"))
		if err != nil || status > 599 {
			return nil, fmt.Errorf("%q is no status for an error page", e.Status)
		}
		out[status] = p
	}
	return out, nil
}

func (p pages) of(status int) *page {
	if status < 400 {
		return nil
	}
	if one := p[status]; one != nil {
		return one
	}
	return p[status/100]
}

func (p pages) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(&pageWriter{ResponseWriter: w, pages: p}, r)
}

// pageWriter puts pages in the place of errors' bodies.
type pageWriter struct {
	http.ResponseWriter
	pages    pages
	done     bool
	replaced bool
}

func (w *pageWriter) WriteHeader(status int) {
	if w.done {
		return
	}
	w.done = isFinal(status)
	if p := w.pages.of(status); p != nil {
		w.replaced = true
		p.write(w.ResponseWriter, status)
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *pageWriter) Write(p []byte) (int, error) {
	if !w.done {
		w.WriteHeader(http.StatusOK)
	}
	if w.replaced {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController flush and hijack.
func (w *pageWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// closed answers that the service is being worked on.
type closed struct {
	page  *page
	allow []netip.Prefix
	after string
}

func maintenance(r *holdfast.Route, opt Options) (layer, error) {
	m := r.Maintenance
	if m == nil {
		return nil, nil
	}
	c := &closed{page: &page{kind: "text/plain; charset=utf-8", body: []byte("down for maintenance\n")}}
	var err error
	if m.Page != nil {
		if c.page, err = newPage(*m.Page, opt); err != nil {
			return nil, err
		}
	}
	if c.allow, err = prefixes(m.Allow); err != nil {
		return nil, err
	}
	if s := int(time.Duration(m.RetryAfter).Seconds()); s > 0 {
		c.after = strconv.Itoa(s)
	}
	return c, nil
}

func (c *closed) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if contains(c.allow, clientOf(r)) {
		next.ServeHTTP(w, r)
		return
	}
	if c.after != "" {
		w.Header().Set("Retry-After", c.after)
	}
	c.page.write(w, http.StatusServiceUnavailable)
}
