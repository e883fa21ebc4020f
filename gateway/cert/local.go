package cert

import (
	"bytes"
	"container/list"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"time"
)

// Lifetimes of the local authority's certificates. Leaves are made anew when a third of their time is left.
const (
	rootLife = 10 * 365 * 24 * time.Hour
	leafLife = 7 * 24 * time.Hour
	// leavesKept bounds the leaves kept in memory: clients choose the names, where a route takes any host.
	leavesKept = 1024
)

// rootName is where the vault has the root: its certificate and its key in PEM.
const rootName = "local/root.pem"

// authority is the cluster's own certificate authority. Its root is made when it is first needed.
type authority struct {
	vault *vault
	now   func() time.Time

	mu     sync.Mutex
	ca     *tls.Certificate
	leaves map[string]*list.Element
	recent *list.List // of *leaf, the last used first
}

type leaf struct {
	name string
	cert *tls.Certificate
}

func newAuthority(v *vault, now func() time.Time) *authority {
	return &authority{vault: v, now: now, leaves: map[string]*list.Element{}, recent: list.New()}
}

// root returns the root's certificate in PEM.
func (a *authority) root(ctx context.Context) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.openLocked(ctx); err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.ca.Certificate[0]}), nil
}

// leaf returns a certificate for name, a host name or an address.
func (a *authority) leaf(ctx context.Context, name string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if found := a.leaves[name]; found != nil {
		cert := found.Value.(*leaf).cert
		if a.now().Before(cert.Leaf.NotAfter.Add(-leafLife / 3)) {
			a.recent.MoveToFront(found)
			return cert, nil
		}
		a.dropLocked(found)
	}
	if err := a.openLocked(ctx); err != nil {
		return nil, err
	}
	cert, err := sign(a.ca, name, a.now())
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %s: %w", name, err)
	}
	a.leaves[name] = a.recent.PushFront(&leaf{name, cert})
	if a.recent.Len() > leavesKept {
		a.dropLocked(a.recent.Back())
	}
	return cert, nil
}

func (a *authority) dropLocked(e *list.Element) {
	delete(a.leaves, e.Value.(*leaf).name)
	a.recent.Remove(e)
}

// openLocked reads the root, or makes it.
func (a *authority) openLocked(ctx context.Context) error {
	if a.ca != nil {
		return nil
	}
	text, err := a.vault.Load(ctx, rootName)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = newRoot(a.now()); err != nil {
			return fmt.Errorf("make local authority: %w", err)
		}
		text, err = a.vault.first(ctx, rootName, text)
	}
	if err != nil {
		return fmt.Errorf("open local authority: %w", err)
	}
	ca, err := tls.X509KeyPair(text, text)
	if err != nil {
		return fmt.Errorf("open local authority: %w", err)
	}
	a.ca = &ca
	return nil
}

func newRoot(now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Holdfast local authority " + now.UTC().Format(time.DateOnly)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(rootLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, MaxPathLenZero: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := pem.Encode(&out, block); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

func sign(ca *tls.Certificate, name string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey.(crypto.Signer))
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, ca.Certificate[0]}, PrivateKey: key, Leaf: parsed}, nil
}
