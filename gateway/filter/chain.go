// Package filter is what the gateway does with a request and its answer beside passing them on: who may ask, how much,
// what is rewritten, where a client is sent instead, how an answer is compressed or replaced. It compiles a
// holdfast.Route to a Chain.
//
// May import only holdfast (the root), the standard library, bcrypt and libraries that compress.
package filter

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast/holdfast"
)

// Chain is what a route does on the way. Its rules never change; what it counts does. Safe for concurrent use.
type Chain struct {
	path    *path
	request *edits
	layers  []layer // outermost first
}

// layer is one step of a chain: it answers itself, or lets next answer.
type layer interface {
	serve(w http.ResponseWriter, r *http.Request, next http.Handler)
}

// Options of Compile.
type Options struct {
	File func(holdfast.FileRef) ([]byte, bool) // content of a file of the route's app
	// Normal returns the normal form of a path, in which routes are matched; nil leaves it as it is.
	Normal func(path string) string
	Now    func() time.Time // time.Now
}

// Needed reports whether a route needs a chain: it says more than which requests it takes, for how long and how often.
func Needed(r *holdfast.Route) bool {
	return r.Rewrite != nil || r.Redirect != nil || r.RequestHeaders != nil || r.ResponseHeaders != nil ||
		len(r.Allow) > 0 || len(r.Deny) > 0 || r.RateLimit != nil || r.BasicAuth != nil || r.CORS != nil ||
		r.MaxBodyBytes > 0 || r.Compress != nil || len(r.ErrorPages) > 0 || r.Maintenance != nil
}

// Compile makes the chain of r. The order is: response headers, compression, error pages; then who may ask (addresses,
// CORS preflights, rate, user), then maintenance, redirect and the body's size.
func Compile(r *holdfast.Route, opt Options) (*Chain, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Normal == nil {
		opt.Normal = func(p string) string { return p }
	}
	c := &Chain{}
	var err error
	if c.path, err = newPath(r, opt.Normal); err != nil {
		return nil, err
	}
	if r.RequestHeaders != nil {
		c.request = newEdits(r.RequestHeaders)
	}
	for _, step := range []func(*holdfast.Route, Options) (layer, error){
		responseEdits, compression, errorPages, addresses, crossOrigin, rateLimit, basicAuth, maintenance, c.redirect, bodyLimit,
	} {
		l, err := step(r, opt)
		if err != nil {
			return nil, err
		}
		if l != nil {
			c.layers = append(c.layers, l)
		}
	}
	return c, nil
}

// Broken returns a chain for a route whose rules cannot be had: it answers 503 rather than let anything pass that they
// would have stopped.
func Broken() *Chain { return &Chain{path: &path{}, layers: []layer{broken{}}} }

type broken struct{}

func (broken) serve(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Retry-After", "5")
	answer(w, http.StatusServiceUnavailable, "the rules of this route cannot be applied")
}

// Serve answers r, with next for what the replica answers.
func (c *Chain) Serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	rest{c.layers, next}.ServeHTTP(w, r)
}

type rest struct {
	layers []layer
	next   http.Handler
}

func (s rest) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(s.layers) == 0 {
		s.next.ServeHTTP(w, r)
		return
	}
	s.layers[0].serve(w, r, rest{s.layers[1:], s.next})
}

// Path returns what the replica sees of a path that the route took and stripped.
func (c *Chain) Path(p string) string { return c.path.rewrite(p) }

// Outgoing edits the header that a replica gets.
func (c *Chain) Outgoing(out *http.Request) {
	if c.request == nil {
		return
	}
	c.request.apply(out.Header)
	if host, ok := c.request.host(); ok {
		out.Host = host
	}
}

// answer writes one line of plain text, as the gateway's own answers are.
func answer(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// maxPattern bounds the length of a regular expression.
const maxPattern = 1024

func checkPattern(text string) error {
	if len(text) > maxPattern {
		return fmt.Errorf("the regular expression has %d bytes: at most %d", len(text), maxPattern)
	}
	return nil
}
