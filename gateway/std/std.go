// Package std is the gateway's HTTP data path on the standard library: net/http in front, httputil.ReverseProxy behind.
// It speaks all of HTTP/1.1 and serves what the loops do not.
//
// May import only gateway/{access,filter,http1,route,upstream} and the standard library.
package std

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast/holdfast/gateway/access"
	"github.com/holdfast/holdfast/gateway/filter"
	"github.com/holdfast/holdfast/gateway/http1"
	"github.com/holdfast/holdfast/gateway/route"
	"github.com/holdfast/holdfast/gateway/upstream"
)

// Config of a Server.
type Config struct {
	Set    *upstream.Set
	Limits upstream.Limits
	Access *access.Log // nil: none
	Secure Secure      // nil: no HTTPS
	Log    *slog.Logger
}

// Server serves HTTP. Safe for concurrent use.
type Server struct {
	cfg   Config
	proxy *httputil.ReverseProxy
	pools sync.Map // *upstream.Endpoint → *pool
}

// Site says which route takes what comes in on one listener: all requests when Port is given, else as the table says.
type Site struct {
	Port *route.Listen
	TLS  *tls.Config // nil: clear text
}

// Route returns the route of a request as route.Table.Match does, or nil.
func (s Site) Route(v *upstream.View, host, path string) *route.Route {
	return s.route(v, host, path, nil)
}

func (s Site) route(v *upstream.View, host, path string, req *route.Request) *route.Route {
	if s.Port == nil {
		return v.Table.Select(host, path, req)
	}
	for _, p := range v.Table.Ports {
		if p.Listen == *s.Port {
			return p.HTTP
		}
	}
	return nil
}

// New returns a Server.
func New(cfg Config) *Server {
	cfg.Limits = cfg.Limits.WithDefaults()
	s := &Server{cfg: cfg}
	s.proxy = &httputil.ReverseProxy{
		Rewrite:      rewrite,
		Transport:    roundTripper{s},
		ErrorHandler: s.fail,
		ErrorLog:     slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		BufferPool:   bufferPool{},
	}
	return s
}

// Serve serves connections of l until ctx ends; then it takes no more, and gives those it has up to grace to finish
// what they are at. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener, site Site, grace time.Duration) error {
	srv := &http.Server{
		Handler:           handler{s, site},
		ReadHeaderTimeout: s.cfg.Limits.Head,
		IdleTimeout:       s.cfg.Limits.Idle,
		MaxHeaderBytes:    s.cfg.Limits.HeadBytes,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		HTTP2:             http2(s.cfg.Limits),
	}
	serve := srv.Serve
	if site.TLS != nil {
		srv.TLSConfig = site.TLS
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	done := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err := srv.Shutdown(limit)
		if err != nil {
			err = srv.Close()
		}
		done <- err
	})
	if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return <-done
}

// Listener is a listening address of a Server.
type Listener struct {
	net.Listener
	srv  *Server
	site Site
}

// Listen binds addr; network is tcp, tcp4 or tcp6.
func (s *Server) Listen(network, addr string, site Site) (*Listener, error) {
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	return s.On(l, site), nil
}

// On returns l as a listener of the server's.
func (s *Server) On(l net.Listener, site Site) *Listener {
	return &Listener{Listener: l, srv: s, site: site}
}

// Serve is Server.Serve.
func (l *Listener) Serve(ctx context.Context, grace time.Duration) error {
	return l.srv.Serve(ctx, l.Listener, l.site, grace)
}

// exchange is one request on its way.
type exchange struct {
	start   time.Time
	view    *upstream.View
	route   *route.Route
	backend *upstream.Backend
	rec     *recorder
	body    *replayBody // nil: no body
	last    *upstream.Endpoint
	tries   int
	err     error
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

type handler struct {
	*Server
	site Site
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{start: time.Now(), view: h.cfg.Set.View()}
	rec := &recorder{ResponseWriter: w, control: http.NewResponseController(w), stall: h.cfg.Limits.Stall, streams: r.ProtoMajor == 2}
	defer h.finish(x, rec, r)
	path := r.URL.EscapedPath()
	if r.Method == http.MethodConnect || !strings.HasPrefix(path, "/") {
		write(rec, upstream.Answer{Status: http.StatusNotImplemented, Text: "this is no forward proxy"})
		return
	}
	if h.secured(rec, r) {
		return
	}
	x.route = h.site.route(x.view, r.Host, path, &route.Request{Method: r.Method, Header: r.Header, RawQuery: r.URL.RawQuery})
	if x.route == nil {
		write(rec, upstream.NoRoute(r.Host))
		return
	}
	x.rec, x.backend = rec, x.view.Backend(x.route)
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	if x.route.Filter == nil {
		h.forward(rec, r)
		return
	}
	x.route.Filter.Serve(rec, r, http.HandlerFunc(h.forward))
}

// forward has a replica answer r, whose context has its exchange.
func (s *Server) forward(w http.ResponseWriter, r *http.Request) {
	x := exchangeOf(r.Context())
	_ = x.rec.control.EnableFullDuplex() // a replica may answer while it is being sent to
	x.backend.Earn()
	x.body = newReplayBody(r, stallReader{x.rec, r.Body}, s.cfg.Limits.ReplayBytes)
	s.proxy.ServeHTTP(w, r)
}

// finish counts the request. It runs also when the proxy panics with http.ErrAbortHandler.
func (h handler) finish(x *exchange, rec *recorder, r *http.Request) {
	took := time.Since(x.start)
	in := x.body.size()
	if x.route != nil {
		x.view.Traffic(x.route).Count(rec.status, took, in, rec.out)
	}
	if x.last != nil {
		x.last.Traffic.Count(rec.status, took, in, rec.out)
	}
	if !h.cfg.Access.Wants(rec.status) {
		return
	}
	e := access.Entry{
		Start: x.start, Client: r.RemoteAddr, Method: r.Method, Host: r.Host, Path: r.RequestURI,
		Status: rec.status, In: in, Out: rec.out, Took: took, Tries: x.tries,
	}
	if x.route != nil {
		e.App, e.Service = x.route.Backend.App, x.route.Backend.Service
	}
	if x.last != nil {
		e.Release, e.Replica = x.last.Release, x.last.Replica.ID
	}
	if x.err != nil {
		e.Error = x.err.Error()
	}
	h.cfg.Access.Write(&e)
}

// rewrite makes the replica's request of the client's. The proxy removed hop-by-hop headers and what the client claimed
// about itself in Forwarded and X-Forwarded-*: the gateway is the edge.
func rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In.Context())
	path := x.route.StripPath(p.In.URL.EscapedPath())
	if x.route.Filter != nil {
		path = x.route.Filter.Path(path)
	}
	p.Out.URL.Scheme, p.Out.URL.Host = "http", x.backend.Desc().Service
	if u, err := p.Out.URL.Parse(escapeOnce(path)); err == nil {
		p.Out.URL.Path, p.Out.URL.RawPath = u.Path, u.RawPath
	}
	p.Out.URL.RawQuery = p.In.URL.RawQuery
	p.Out.Host = p.In.Host
	p.Out.Header.Del("X-Real-Ip")
	for name := range p.Out.Header {
		if http1.Disguised([]byte(name)) {
			delete(p.Out.Header, name)
		}
	}
	if !strings.EqualFold(p.Out.Header.Get("Upgrade"), "websocket") { // h2c would go past the gateway's rules
		p.Out.Header.Del("Upgrade")
		p.Out.Header.Del("Connection")
	}
	p.SetXForwarded()
	proto := "http"
	if p.In.TLS != nil {
		proto = "https"
	}
	p.Out.Header.Set("Forwarded", Forwarded(p.In.RemoteAddr, p.In.Host, proto))
	if _, ok := p.In.Header["User-Agent"]; !ok {
		p.Out.Header["User-Agent"] = nil // or the transport adds its own
	}
	if x.route.Filter != nil {
		x.route.Filter.Outgoing(p.Out)
	}
}

// escapeOnce keeps a path that starts with "//" from being read as an authority.
func escapeOnce(path string) string {
	if strings.HasPrefix(path, "//") {
		return "/." + path
	}
	return path
}

// Forwarded returns the value of a Forwarded header (RFC 7239).
func Forwarded(client, host, proto string) string {
	node := client
	if ap, err := netip.ParseAddrPort(client); err == nil {
		addr := ap.Addr().Unmap()
		if node = addr.String(); addr.Is6() {
			node = `"[` + node + `]"`
		}
	}
	return "for=" + node + ";host=" + strconv.Quote(host) + ";proto=" + proto
}

// fail answers a request that no replica answered.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	x.err = err
	if r.Context().Err() != nil {
		return // the client is gone
	}
	if big := new(http.MaxBytesError); errors.As(x.body.failed(), &big) {
		filter.TooLarge(w, big.Limit)
		return
	}
	be := x.backend.Desc()
	write(w, upstream.Failure(be.App+"/"+be.Service, err))
}

func write(w http.ResponseWriter, a upstream.Answer) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	w.WriteHeader(a.Status)
	fmt.Fprintln(w, a.Text)
}

// recorder notes what was answered, and gives the client stall for each step.
type recorder struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	streams bool   // HTTP/2
	hsts    string // told to the client
	status  int
	out     int64
}

// WriteHeader passes status on, but for a replica's 100 (Continue): the server sends one itself when the body is read.
func (r *recorder) WriteHeader(status int) {
	if status == http.StatusContinue {
		return
	}
	if r.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	if r.hsts != "" && status >= 200 {
		r.Header().Set("Strict-Transport-Security", r.hsts)
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	r.hurry()
	n, err := r.ResponseWriter.Write(p)
	r.relax()
	r.out += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController flush and hijack.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// stallReader reads the client's body, and gives it stall for each step.
type stallReader struct {
	rec  *recorder
	body io.Reader
}

func (s stallReader) Read(p []byte) (int, error) {
	_ = s.rec.control.SetReadDeadline(time.Now().Add(s.rec.stall))
	n, err := s.body.Read(p)
	if s.rec.streams {
		_ = s.rec.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

type bufferPool struct{}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

func (bufferPool) Get() []byte  { return buffers.Get().(*[32 << 10]byte)[:] }
func (bufferPool) Put(b []byte) { buffers.Put((*[32 << 10]byte)(b)) }
