package daemon

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/gateway"
	"github.com/holdfast/holdfast/gateway/cert"
	"github.com/holdfast/holdfast/store"
)

// ACME says who makes certificates for routes with "tls: auto".
type ACME struct {
	Email string // of the account
	URL   string // of the authority's directory; Let's Encrypt's
	CA    string // file of roots, in PEM, that URL's own certificate is checked with; default: the system's
}

// defaultHTTPS is where HTTPS is served: beside :80, and nowhere if HTTP is elsewhere and nothing was said of HTTPS.
func defaultHTTPS(http string) string {
	if http == ":80" {
		return ":443"
	}
	return "off"
}

// gatewayKey is the file of the key that seals what gateways keep in the store.
func (cfg Config) gatewayKey() string { return cfg.dir("gateway.key") }

func (cfg Config) gatewayTLS() (gateway.TLS, error) {
	if cfg.HTTPS == "off" {
		return gateway.TLS{}, nil
	}
	out := gateway.TLS{
		Listen: []string{cfg.HTTPS}, KeyFile: cfg.gatewayKey(),
		ACME: cert.ACME{URL: cfg.ACME.URL, Email: cfg.ACME.Email},
	}
	if cfg.ACME.CA == "" {
		return out, nil
	}
	text, err := os.ReadFile(cfg.ACME.CA)
	if err != nil {
		return out, fmt.Errorf("read --acme-ca: %w", err)
	}
	out.ACME.Roots = x509.NewCertPool()
	if !out.ACME.Roots.AppendCertsFromPEM(text) {
		return out, holdfast.Errorf(holdfast.ErrInvalid, "--acme-ca %s: no certificate in PEM", cfg.ACME.CA)
	}
	return out, nil
}

// tlsArgs are the flags that tell the gateway's process the same.
func (cfg Config) tlsArgs() []string {
	args := []string{"--https", cfg.HTTPS}
	for _, a := range []struct{ flag, value string }{
		{"--acme-email", cfg.ACME.Email}, {"--acme-url", cfg.ACME.URL}, {"--acme-ca", cfg.ACME.CA},
	} {
		if a.value != "" {
			args = append(args, a.flag, a.value)
		}
	}
	return args
}

// gatewayWrites are the keys that the gateway's process may write: its confirmations, what it seals, and the offices by
// which gateways take turns at certificates.
func gatewayWrites(key string) bool {
	switch store.TableOf(key) {
	case "drains", "sealed":
		return true
	case "leaders":
		return strings.HasPrefix(store.OfficeOf(key), cert.Office)
	}
	return false
}

// LocalRootPath is where the gateway's socket, gateway.sock beside the API's, has the certificate of the cluster's own
// authority.
const LocalRootPath = "/local-root.pem"

// serveLocalRoot answers with the certificate of the cluster's own authority.
func serveLocalRoot(gw *gateway.Gateway) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		root, err := gw.LocalRoot(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(root) // the reader is gone
	}
}
