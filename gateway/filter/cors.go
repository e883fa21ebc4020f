package filter

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
)

// cors is the Fetch standard's protocol (§3.2) for the route's answers.
type cors struct {
	*holdfast.CORS
	methods string
	expose  string
}

// usualMethods are allowed when a route names none.
var usualMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

func crossOrigin(r *holdfast.Route, _ Options) (layer, error) {
	if r.CORS == nil {
		return nil, nil
	}
	methods := r.CORS.Methods
	if len(methods) == 0 {
		methods = usualMethods
	}
	return &cors{r.CORS, strings.Join(methods, ", "), strings.Join(r.CORS.Expose, ", ")}, nil
}

// Preflight reports whether r asks what another request may do.
func Preflight(method string, h http.Header) bool {
	return method == http.MethodOptions && h.Get("Origin") != "" && h.Get("Access-Control-Request-Method") != ""
}

func (c *cors) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	origin := r.Header.Get("Origin")
	if Preflight(r.Method, r.Header) {
		c.preflight(w.Header(), origin, r.Header.Get("Access-Control-Request-Headers"))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	next.ServeHTTP(&headWriter{ResponseWriter: w, final: func(h http.Header, _ int) { c.mark(h, origin) }}, r)
}

func (c *cors) preflight(h http.Header, origin, wanted string) {
	vary(h, "Origin")
	vary(h, "Access-Control-Request-Headers")
	if !c.origin(h, origin) {
		return
	}
	h.Set("Access-Control-Allow-Methods", c.methods)
	if allowed := c.headers(wanted); allowed != "" {
		h.Set("Access-Control-Allow-Headers", allowed)
	}
	if c.MaxAge > 0 {
		h.Set("Access-Control-Max-Age", strconv.Itoa(int(time.Duration(c.MaxAge).Seconds())))
	}
}

// headers returns what of the wanted request headers is allowed.
func (c *cors) headers(wanted string) string {
	if !slices.Contains(c.Headers, "*") {
		return strings.Join(c.Headers, ", ")
	}
	var out []string
	for name := range strings.SplitSeq(wanted, ",") {
		if name = strings.TrimSpace(name); isToken(name) {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

// mark takes the place of what the replica said about other origins.
func (c *cors) mark(h http.Header, origin string) {
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			delete(h, name)
		}
	}
	if !c.any() || c.Credentials {
		vary(h, "Origin")
	}
	if origin != "" && c.origin(h, origin) && c.expose != "" {
		h.Set("Access-Control-Expose-Headers", c.expose)
	}
}

func (c *cors) any() bool { return slices.Contains(c.Origins, "*") }

// origin allows origin in h if it may be.
func (c *cors) origin(h http.Header, origin string) bool {
	switch {
	case c.any() && !c.Credentials:
		h.Set("Access-Control-Allow-Origin", "*")
		return true
	case !slices.ContainsFunc(c.Origins, func(pattern string) bool { return originMatches(pattern, origin) }):
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if c.Credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	return true
}

// originMatches reports whether origin is pattern, in which "*." stands for one or more labels.
func originMatches(pattern, origin string) bool {
	before, after, wild := strings.Cut(pattern, "*")
	if !wild {
		return strings.EqualFold(pattern, origin)
	}
	if len(origin) <= len(before)+len(after) {
		return false
	}
	label := origin[len(before) : len(origin)-len(after)]
	return strings.EqualFold(origin[:len(before)], before) && strings.EqualFold(origin[len(origin)-len(after):], after) &&
		!strings.ContainsAny(label, "/:@?#") && !strings.HasPrefix(label, ".") && !strings.HasSuffix(label, ".")
}

// isToken reports whether s is a token (RFC 9110 §5.6.2).
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}
