package filter

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// edits are changes of a header.
type edits struct {
	remove   []string
	set, add []field
}

type field struct{ name, value string }

func newEdits(e *holdfast.HeaderEdits) *edits {
	fields := func(m map[string]string) []field {
		var out []field
		for _, name := range slices.Sorted(maps.Keys(m)) {
			out = append(out, field{http.CanonicalHeaderKey(name), m[name]})
		}
		return out
	}
	return &edits{remove: e.Remove, set: fields(e.Set), add: fields(e.Add)}
}

// apply edits h. Host is not in it: see host.
func (e *edits) apply(h http.Header) {
	for _, name := range e.remove {
		h.Del(name)
	}
	for _, f := range e.set {
		if f.name != "Host" {
			h[f.name] = []string{f.value}
		}
	}
	for _, f := range e.add {
		h[f.name] = append(h[f.name], f.value)
	}
}

// host returns what Host is set to.
func (e *edits) host() (string, bool) {
	for _, f := range e.set {
		if f.name == "Host" {
			return f.value, true
		}
	}
	return "", false
}

// responseEdits edits the header of every answer on the route, the gateway's own included.
func responseEdits(r *holdfast.Route, _ Options) (layer, error) {
	if r.ResponseHeaders == nil {
		return nil, nil
	}
	return newEdits(r.ResponseHeaders), nil
}

func (e *edits) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(&headWriter{ResponseWriter: w, final: func(h http.Header, _ int) { e.apply(h) }}, r)
}

// headWriter calls final before the header of the final answer is written.
type headWriter struct {
	http.ResponseWriter
	final func(h http.Header, status int)
	done  bool
}

func (w *headWriter) WriteHeader(status int) {
	if !w.done && isFinal(status) {
		w.done = true
		w.final(w.Header(), status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *headWriter) Write(p []byte) (int, error) {
	if !w.done {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController flush and hijack.
func (w *headWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// isFinal reports whether no other status follows.
func isFinal(status int) bool { return status >= 200 || status == http.StatusSwitchingProtocols }

// vary notes that the answer depends on a request header.
func vary(h http.Header, name string) {
	for _, line := range h["Vary"] {
		for part := range strings.SplitSeq(line, ",") {
			if part = strings.TrimSpace(part); part == "*" || strings.EqualFold(part, name) {
				return
			}
		}
	}
	h.Add("Vary", name)
}
