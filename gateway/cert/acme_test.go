package cert

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/holdfast/holdfast"
)

// authorityRig is Pebble, Let's Encrypt's test server, which finds every host at this machine's loopback address.
type authorityRig struct {
	url   string
	roots *x509.CertPool // of its API
}

func newPebble(t *testing.T, httpPort, tlsPort int, validity uint64) *authorityRig {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: validity}})
	front := wfe.New(quiet, store, va.New(quiet, httpPort, tlsPort, false, resolver(t), store), issuer, []string{"pebble.test"}, false, false, 1, 1)
	srv := httptest.NewTLSServer(front.Handler())
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return &authorityRig{url: srv.URL + wfe.DirectoryPath, roots: roots}
}

// resolver is a DNS server that has 127.0.0.1 for every name.
func resolver(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			a.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(a) // the client asks again
	})}
	go srv.ActivateAndServe()            //nolint:errcheck // ends with the test
	t.Cleanup(func() { srv.Shutdown() }) //nolint:errcheck // ends with the test
	return l.Addr().String()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// obtain makes a manager whose challenges are answered by http or by tls, and waits for a certificate.
func obtain(t *testing.T, by string, validity uint64, check time.Duration) (*Manager, *x509.Certificate) {
	t.Helper()
	var m *Manager
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !m.Challenge(w, r) {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(web.Close)
	secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		NextProtos:         []string{acmeProtocol},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return m.TLS(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { secure.Close() })
	go (&http.Server{ErrorLog: log.New(io.Discard, "", 0)}).Serve(secure) //nolint:errcheck // ends with the test
	plain := web.Listener.Addr().(*net.TCPAddr)
	pebble := newPebble(t, plain.Port, secure.Addr().(*net.TCPAddr).Port, validity)
	out := &lockedBuffer{}
	m = newManager(t, func(c *Config) {
		c.ACME = ACME{URL: pebble.url, Email: "ops@" + strings.ToLower(rand.Text()) + ".example.com", Roots: pebble.roots}
		if by == "http" {
			c.ACME.HTTP = plain.String()
		} else {
			c.ACME.HTTPS = secure.Addr().String()
		}
		c.Log, c.check = slog.New(slog.NewTextHandler(out, nil)), check
	})
	t.Cleanup(func() {
		if text := out.b.String(); strings.Contains(text, "PRIVATE") {
			t.Errorf("a key is in the log: %s", text)
		} else if t.Failed() {
			t.Log(text)
		}
	})
	m.Apply([]Want{{Host: "shop.test", From: holdfast.CertAuto}})
	return m, newer(t, m, nil)
}

// newer waits until shop.test has another certificate than was.
func newer(t *testing.T, m *Manager, was *x509.Certificate) *x509.Certificate {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) { // the poll of a condition
		if !m.Ready("shop.test") {
			continue
		}
		got, err := handshake(t, m, "shop.test", nil)
		if err == nil && (was == nil || !got.Equal(was)) {
			return got
		}
	}
	t.Fatal("no new certificate within a minute")
	return nil
}

func TestACME(t *testing.T) {
	for _, by := range []string{"http", "tls"} {
		t.Run(by, func(t *testing.T) {
			m, cert := obtain(t, by, 0, 0)
			if err := cert.VerifyHostname("shop.test"); err != nil {
				t.Error(err)
			}
			// A gateway that starts again has it; its authority is not asked, for it cannot be reached.
			again := newManager(t, func(c *Config) {
				c.State, c.KeyFile, c.ACME = m.cfg.State, m.cfg.KeyFile, m.cfg.ACME
				c.ACME.Roots = x509.NewCertPool()
			})
			again.Apply([]Want{{Host: "shop.test", From: holdfast.CertAuto}})
			if got := newer(t, again, nil); !got.Equal(cert) {
				t.Error("another certificate after a restart")
			}
			for _, s := range m.cfg.State.Snapshot().Sealed.All("") {
				if bytes.Contains(s.Data, []byte("PRIVATE")) {
					t.Errorf("%s is stored in clear", s.Name)
				}
			}
			m.Apply(nil)
			if _, err := handshake(t, m, "shop.test", nil); err == nil || m.Ready("shop.test") {
				t.Error("a host that is wanted no more has a certificate")
			}
		})
	}
}

// A certificate near its end is renewed, and given out from then on, by the process that runs.
func TestACMERenews(t *testing.T) {
	const validity = 8 // seconds; certmagic renews in the last third
	m, first := obtain(t, "http", validity, 200*time.Millisecond)
	second := newer(t, m, first)
	if !second.NotAfter.After(first.NotAfter) {
		t.Errorf("from %v to %v", first.NotAfter, second.NotAfter)
	}
}
