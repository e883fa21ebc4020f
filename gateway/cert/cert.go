// Package cert owns the gateway's certificates: it gives each TLS handshake the one of the host that the client names.
//
//	routes ─► Apply ─► hosts ◄── handshake
//	                     ├── files: a pair of the app's secrets
//	                     ├── authority: the cluster's own, for development
//	                     └── acme: certmagic; it obtains and renews by itself
//	                          └── vault: keys, accounts and certificates in the store, sealed
//
// May import holdfast (the root), store and libraries.
package cert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// State is what the package needs of the store.
type State interface {
	Snapshot() *store.Snapshot
	Update(ctx context.Context, change func(*store.Snapshot, *store.Tx) error) error
	Campaign(ctx context.Context, office, holder string, ttl time.Duration) (*store.Leadership, error)
}

// Config of a Manager. State, KeyFile and Log must be set.
type Config struct {
	State State
	// KeyFile holds the key that seals what is stored. It is made, readable by its owner only, when it is missing.
	KeyFile string
	ACME    ACME
	Log     *slog.Logger
	Now     func() time.Time // time.Now

	check time.Duration // how often renewals are looked for; certmagic's default
}

// ACME says who makes certificates for "tls: auto".
type ACME struct {
	URL   string         // directory of the certificate authority; Let's Encrypt's
	Email string         // of the account; may be ""
	Roots *x509.CertPool // trusted when talking to URL; the system's
	// HTTP and HTTPS are the addresses at which the gateway answers challenges; "" is not at all.
	HTTP, HTTPS string
}

// Want is a host that is to have a certificate.
type Want struct {
	Host      string // "" any; "*.example.com" one label; lower case
	From      holdfast.CertSource
	Cert, Key *holdfast.File // for CertFiles; nil: not there yet
}

// Manager has the certificates of one gateway. Safe for concurrent use.
type Manager struct {
	cfg   Config
	vault *vault
	local *authority
	acme  *acme
	hosts atomic.Pointer[hosts]
}

// New returns a Manager that has no hosts yet.
func New(cfg Config) (*Manager, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	v, err := newVault(cfg.State, cfg.KeyFile, cfg.Now)
	if err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, vault: v, local: newAuthority(v, cfg.Now), acme: newACME(cfg, v)}
	m.hosts.Store(&hosts{})
	return m, nil
}

// Close ends what renews certificates.
func (m *Manager) Close() { m.acme.close() }

// Apply makes wants the hosts that have certificates. Of two for one host the first counts. Only one goroutine may call it
// at a time.
func (m *Manager) Apply(wants []Want) {
	was, now := m.hosts.Load(), &hosts{byName: map[string]*host{}}
	var managed []string
	for _, w := range wants {
		if now.byName[w.Host] != nil {
			continue
		}
		h := was.byName[w.Host]
		if h == nil || h.Want != w {
			h = m.newHost(w)
		}
		now.byName[w.Host] = h
		if w.From == holdfast.CertAuto {
			managed = append(managed, w.Host)
		}
	}
	m.hosts.Store(now)
	slices.Sort(managed)
	m.acme.manage(managed)
}

func (m *Manager) newHost(w Want) *host {
	h := &host{Want: w}
	if w.From != holdfast.CertFiles {
		return h
	}
	if w.Cert == nil || w.Key == nil {
		h.err = errors.New("its certificate is not in the store yet")
		return h
	}
	pair, err := tls.X509KeyPair(w.Cert.Data, w.Key.Data)
	if err != nil {
		h.err = err
		m.cfg.Log.Error("certificate cannot be used", "host", w.Host, "cert", w.Cert.Name, "key", w.Key.Name, "err", err)
		return h
	}
	h.pair = &pair
	return h
}

// host is a Want with what was made of it.
type host struct {
	Want
	pair *tls.Certificate // CertFiles
	err  error
}

// hosts never change.
type hosts struct{ byName map[string]*host }

// find returns the host that name is: itself, the wildcard that covers it, or the one for any.
func (h *hosts) find(name string) *host {
	if found := h.byName[name]; found != nil && name != "" {
		return found
	}
	if i := strings.IndexByte(name, '.'); i > 0 {
		if found := h.byName["*"+name[i:]]; found != nil {
			return found
		}
	}
	return h.byName[""]
}

// Ready reports whether a handshake for name, a host as in Host headers less its port, would be given a certificate now.
func (m *Manager) Ready(name string) bool {
	h := m.hosts.Load().find(name)
	switch {
	case h == nil:
		return false
	case h.From == holdfast.CertAuto:
		return m.acme.has(name)
	}
	return h.err == nil
}

// TLS returns how connections are secured: TLS 1.2 with forward secrecy and authenticated encryption only, or 1.3.
func (m *Manager) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{ // of 1.2; those of 1.3 are all good
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     []string{"h2", "http/1.1", acmeProtocol},
		GetCertificate: m.certificate,
	}
}

// certificate answers a handshake.
func (m *Manager) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if slices.Contains(hello.SupportedProtos, acmeProtocol) {
		return m.acme.certificate(hello)
	}
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	h := m.hosts.Load().find(name)
	switch {
	case h == nil:
		return nil, fmt.Errorf("no certificate for %q", hello.ServerName)
	case h.err != nil:
		return nil, h.err
	case h.From == holdfast.CertAuto:
		return m.acme.certificate(hello)
	case h.From == holdfast.CertLocal:
		return m.local.leaf(hello.Context(), leafName(name, hello))
	}
	return h.pair, nil
}

// leafName is what a client believes to talk to that named no host: the address.
func leafName(name string, hello *tls.ClientHelloInfo) string {
	if name != "" || hello.Conn == nil {
		return name
	}
	host, _, _ := strings.Cut(hello.Conn.LocalAddr().String(), "%")
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = strings.Trim(host[:i], "[]")
	}
	return host
}

// Challenge answers r if it is a certificate authority's, and reports whether it was.
func (m *Manager) Challenge(w http.ResponseWriter, r *http.Request) bool {
	return m.acme.challenge(w, r)
}

// LocalRoot returns the certificate, in PEM, of the authority that signs for "tls: local". The first call in a cluster
// makes it.
func (m *Manager) LocalRoot(ctx context.Context) ([]byte, error) { return m.local.root(ctx) }
