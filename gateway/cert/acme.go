package cert

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// acmeProtocol is what a certificate authority speaks that checks a host by a handshake (RFC 8737).
const acmeProtocol = "acme-tls/1"

// acme obtains and renews certificates. Nothing of it exists before the first host that needs it.
type acme struct {
	cfg   Config
	vault *vault
	use   atomic.Pointer[client]

	mu      sync.Mutex
	managed []string // sorted
}

type client struct {
	cache  *certmagic.Cache
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer
	ctx    context.Context
	end    context.CancelFunc
}

func newACME(cfg Config, v *vault) *acme { return &acme{cfg: cfg, vault: v} }

// manage makes hosts, sorted, those that have certificates.
func (a *acme) manage(hosts []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Equal(hosts, a.managed) {
		return
	}
	c := a.use.Load()
	if c == nil {
		c = a.newClient()
		a.use.Store(c)
	}
	var gone []certmagic.SubjectIssuer
	for _, h := range a.managed {
		if !slices.Contains(hosts, h) {
			gone = append(gone, certmagic.SubjectIssuer{Subject: h})
		}
	}
	c.cache.RemoveManaged(gone)
	added := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return slices.Contains(a.managed, h) })
	a.managed = hosts
	if err := c.magic.ManageAsync(c.ctx, added); err != nil {
		a.cfg.Log.Error("manage certificates", "hosts", added, "err", err)
	}
}

func (a *acme) newClient() *client {
	c := &client{}
	c.ctx, c.end = context.WithCancel(context.Background())
	log := zap.New(zapSlog{a.cfg.Log, nil})
	c.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return c.magic, nil },
		RenewCheckInterval: a.cfg.check, Logger: log,
	})
	c.magic = certmagic.New(c.cache, certmagic.Config{Storage: a.vault, Logger: log})
	template := certmagic.ACMEIssuer{
		CA: a.cfg.ACME.URL, Email: a.cfg.ACME.Email, Agreed: true, TrustedRoots: a.cfg.ACME.Roots, Logger: log,
	}
	template.ListenHost, template.AltHTTPPort, template.DisableHTTPChallenge = listening(a.cfg.ACME.HTTP)
	_, template.AltTLSALPNPort, template.DisableTLSALPNChallenge = listening(a.cfg.ACME.HTTPS)
	c.issuer = certmagic.NewACMEIssuer(c.magic, template)
	c.magic.Issuers = []certmagic.Issuer{c.issuer}
	return c
}

// listening takes apart an address that the gateway listens at. certmagic finds it taken, and leaves the answers to us.
func listening(addr string) (host string, port int, off bool) {
	host, text, err := net.SplitHostPort(addr)
	port, numErr := strconv.Atoi(text)
	return host, port, err != nil || numErr != nil
}

// has reports whether there is a certificate for name.
func (a *acme) has(name string) bool {
	c := a.use.Load()
	return c != nil && len(c.cache.AllMatchingCertificates(name)) > 0
}

func (a *acme) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c := a.use.Load()
	if c == nil {
		return nil, errors.New("no certificate is asked for")
	}
	return c.magic.GetCertificate(hello)
}

func (a *acme) challenge(w http.ResponseWriter, r *http.Request) bool {
	c := a.use.Load()
	return c != nil && c.issuer.HandleHTTPChallenge(w, r)
}

func (a *acme) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.use.Load(); c != nil {
		c.end()
		c.cache.Stop()
	}
}

// zapSlog writes certmagic's log to slog: what asks for attention only.
type zapSlog struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func (z zapSlog) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

func (z zapSlog) With(fields []zapcore.Field) zapcore.Core {
	return zapSlog{z.log, slices.Concat(z.fields, fields)}
}

func (z zapSlog) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if z.Enabled(e.Level) {
		return checked.AddCore(e, z)
	}
	return checked
}

func (z zapSlog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, field := range slices.Concat(z.fields, fields) {
		field.AddTo(enc)
	}
	var attrs []slog.Attr
	for key, value := range enc.Fields {
		attrs = append(attrs, slog.Any(key, value))
	}
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	z.log.LogAttrs(context.Background(), level, "certificates: "+e.Message, attrs...)
	return nil
}

func (z zapSlog) Sync() error { return nil }
