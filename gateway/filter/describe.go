package filter

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
)

// Describe says in words what is done with a request on r and its answer, in order.
func Describe(r *holdfast.Route) []string {
	var out []string
	say := func(when bool, format string, args ...any) {
		if when {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	say(len(r.Deny) > 0, "refuses %s", strings.Join(r.Deny, ", "))
	say(len(r.Allow) > 0, "takes only %s", strings.Join(r.Allow, ", "))
	say(r.CORS != nil, "answers CORS preflights")
	if l := r.RateLimit; l != nil {
		say(true, "at most %d requests in %s for each %s, %d at once", l.Requests, time.Duration(l.Per),
			cmp.Or(l.Header, l.By), l.Burst)
	}
	say(r.BasicAuth != nil, "asks for a user and password")
	say(r.Maintenance != nil, "answers 503: down for maintenance")
	if d := r.Redirect; d != nil {
		say(true, "redirects with %d", d.Code)
	}
	say(r.MaxBodyBytes > 0, "takes bodies of at most %d bytes", r.MaxBodyBytes)
	say(r.RequestHeaders != nil, "edits the request's header")
	say(r.Timeout > 0, "waits %s for the answer to begin", time.Duration(r.Timeout))
	say(len(r.ErrorPages) > 0, "replaces errors by pages")
	if r.Compress != nil {
		say(true, "compresses with %s", strings.Join(r.Compress.Encodings, ", "))
	}
	say(r.ResponseHeaders != nil, "edits the answer's header")
	return out
}
