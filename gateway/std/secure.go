package std

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast/holdfast/gateway/upstream"
)

// Secure is what a Server needs to know of HTTPS.
type Secure interface {
	// Challenge answers a request of a certificate authority, and reports whether it was one.
	Challenge(w http.ResponseWriter, r *http.Request) bool
	// Port returns the port at which host (as in a Host header) is served over HTTPS; 0 when it is not.
	Port(host string) int
	// HSTS returns the Strict-Transport-Security header of host; "" for none.
	HSTS(host string) string
}

// challengePath is where a certificate authority asks, in clear text, whether a host is ours (RFC 8555 §8.3).
const challengePath = "/.well-known/acme-challenge/"

// Clear reports whether a request that came to site in clear text is to be served by package std because HTTPS has to do
// with it.
func (s *Server) Clear(site Site, host, path string) bool {
	if s.cfg.Secure == nil || site.Port != nil || site.TLS != nil {
		return false
	}
	return strings.HasPrefix(path, challengePath) || s.cfg.Secure.Port(host) != 0
}

// secured answers what comes in clear text for a host of HTTPS, and reports whether it did.
func (h handler) secured(rec *recorder, r *http.Request) bool {
	if h.cfg.Secure == nil || h.site.Port != nil {
		return false
	}
	if h.site.TLS != nil {
		rec.hsts = h.cfg.Secure.HSTS(r.Host)
		return false
	}
	if h.cfg.Secure.Challenge(rec, r) {
		return true
	}
	port := h.cfg.Secure.Port(r.Host)
	if port == 0 {
		return false
	}
	rec.Header().Set("Location", "https://"+authority(r.Host, port)+r.URL.RequestURI())
	write(rec, upstream.Answer{Status: http.StatusPermanentRedirect, Text: "use https"})
	return true
}

// authority returns host with the port of HTTPS.
func authority(host string, port int) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if port != 443 {
		return net.JoinHostPort(host, strconv.Itoa(port))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// http2 bounds what a connection of HTTP/2 may ask for, and finds those whose other side is gone.
func http2(l upstream.Limits) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: 256, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: l.Stall,
	}
}

// FlushError gives the client time to take what was written.
func (r *recorder) FlushError() error {
	r.hurry()
	err := r.control.Flush()
	r.relax()
	return err
}

func (r *recorder) hurry() { _ = r.control.SetWriteDeadline(time.Now().Add(r.stall)) } // a hijacked connection has none

// relax lets an HTTP/2 stream be silent: its deadlines pass without anybody writing, those of HTTP/1 do not.
func (r *recorder) relax() {
	if r.streams {
		_ = r.control.SetWriteDeadline(time.Time{})
	}
}
