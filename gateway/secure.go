package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/gateway/cert"
	"github.com/holdfast/holdfast/gateway/route"
	"github.com/holdfast/holdfast/gateway/std"
	"github.com/holdfast/holdfast/store"
)

// TLS is how a Gateway serves the routes over HTTPS.
type TLS struct {
	Listen  []string // addresses; none: no HTTPS
	KeyFile string   // seals what the gateways store; made when it is missing
	ACME    cert.ACME
}

// secure is the gateway's HTTPS. A nil one does nothing.
type secure struct {
	certs *cert.Manager
	port  int
	hosts atomic.Pointer[map[string]time.Duration] // hosts with TLS and their HSTS
}

var _ std.Secure = (*secure)(nil)

// serveHTTPS binds the listeners of HTTPS. Those of HTTP are bound already: certificate authorities ask there.
func (g *Gateway) serveHTTPS() error {
	if g.tls == nil {
		return nil
	}
	acme := g.cfg.TLS.ACME
	if addrs := g.HTTPAddrs(); len(addrs) > 0 {
		acme.HTTP = cmp.Or(acme.HTTP, addrs[0].String())
	}
	var bound []net.Listener
	for _, addr := range g.cfg.TLS.Listen {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			closeListeners(bound)
			return fmt.Errorf("listen for https: %w", err)
		}
		bound = append(bound, l)
	}
	first := bound[0].Addr()
	acme.HTTPS = cmp.Or(acme.HTTPS, first.String())
	var err error
	g.tls.certs, err = cert.New(cert.Config{
		State: g.cfg.State, KeyFile: g.cfg.TLS.KeyFile, ACME: acme, Log: g.cfg.Log, Now: g.cfg.Now,
	})
	if err != nil {
		closeListeners(bound)
		return fmt.Errorf("open certificates: %w", err)
	}
	g.tls.port = first.(*net.TCPAddr).Port
	for _, l := range bound {
		g.ports.tls = append(g.ports.tls, g.std.On(l, std.Site{TLS: g.tls.certs.TLS()}))
	}
	return nil
}

func closeListeners(all []net.Listener) {
	for _, l := range all {
		l.Close()
	}
}

// HTTPSAddrs returns the addresses of the routes' listeners for HTTPS.
func (g *Gateway) HTTPSAddrs() []net.Addr {
	var addrs []net.Addr
	for _, l := range g.ports.tls {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// LocalRoot returns the certificate, in PEM, of the cluster's own authority. The first call in a cluster makes it.
func (g *Gateway) LocalRoot(ctx context.Context) ([]byte, error) {
	if g.tls == nil {
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "this gateway serves no HTTPS")
	}
	return g.tls.certs.LocalRoot(ctx)
}

func (s *secure) close() {
	if s != nil && s.certs != nil {
		s.certs.Close()
	}
}

// apply makes the hosts of snap's routes those that have certificates.
func (s *secure) apply(snap *store.Snapshot) {
	if s == nil {
		return
	}
	wants, hosts := wanted(snap)
	s.certs.Apply(wants)
	s.hosts.Store(&hosts)
}

// wanted returns what the wanted releases of all services say of TLS, in the order of apps, services and routes: of a
// host that several have, the first that names a certificate counts.
func wanted(snap *store.Snapshot) (wants []cert.Want, hosts map[string]time.Duration) {
	hosts = map[string]time.Duration{}
	for _, svc := range snap.Services.All("") {
		rel, ok := snap.Releases.Get(store.ReleaseKey(svc.App, svc.Name, svc.Release))
		if !ok || svc.Removing {
			continue
		}
		for i := range rel.Spec.Routes {
			r := &rel.Spec.Routes[i]
			if r.TLS == nil {
				continue
			}
			w := cert.Want{Host: route.Host(r.Host), From: r.TLS.From}
			if _, had := hosts[w.Host]; had {
				continue
			}
			w.Cert, _ = snap.Files.Get(store.FileKey(svc.App, r.TLS.Cert.Name, r.TLS.Cert.Digest))
			w.Key, _ = snap.Files.Get(store.FileKey(svc.App, r.TLS.Key.Name, r.TLS.Key.Digest))
			wants, hosts[w.Host] = append(wants, w), time.Duration(r.TLS.HSTS)
		}
	}
	return wants, hosts
}

// Port implements std.Secure. A host whose certificate is still being obtained is served in clear text until it is there.
func (s *secure) Port(host string) int {
	if hosts := s.hosts.Load(); hosts == nil || len(*hosts) == 0 || !s.certs.Ready(route.Host(host)) {
		return 0
	}
	return s.port
}

// HSTS implements std.Secure.
func (s *secure) HSTS(host string) string {
	hosts := s.hosts.Load()
	if hosts == nil {
		return ""
	}
	host = route.Host(host)
	age, ok := (*hosts)[host]
	if !ok {
		age, ok = (*hosts)[wildcardOf(host)]
	}
	if !ok {
		age = (*hosts)[""]
	}
	if age <= 0 {
		return ""
	}
	return "max-age=" + strconv.FormatInt(int64(age/time.Second), 10)
}

func wildcardOf(host string) string {
	if i := strings.IndexByte(host, '.'); i > 0 {
		return "*" + host[i:]
	}
	return ""
}

// Challenge implements std.Secure.
func (s *secure) Challenge(w http.ResponseWriter, r *http.Request) bool {
	return s.certs.Challenge(w, r)
}
