package cert

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
)

func openStore(t *testing.T) *store.Store {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	st, err := store.Open(ctx, mem.New())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func newManager(t *testing.T, change func(*Config)) *Manager {
	t.Helper()
	cfg := Config{State: openStore(t), KeyFile: filepath.Join(t.TempDir(), "key"), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// handshake returns the certificate that a client which names host, and trusts roots, is given.
func handshake(t *testing.T, m *Manager, host string, roots *x509.CertPool) (*x509.Certificate, error) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		_ = tls.Server(server, m.TLS()).HandshakeContext(t.Context()) // the client's side tells
	}()
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	c := tls.Client(client, &tls.Config{ServerName: host, RootCAs: roots, InsecureSkipVerify: roots == nil}) //nolint:gosec // asked which, not whether
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

// pair makes a self-signed certificate and its key.
func pair(t *testing.T, serial int64, names ...string) (cert, key *holdfast.File) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return &holdfast.File{Data: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})},
		&holdfast.File{Data: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})}
}

func filesOf(t *testing.T, host string, serial int64) Want {
	t.Helper()
	cert, key := pair(t, serial, "x.test")
	return Want{Host: host, From: holdfast.CertFiles, Cert: cert, Key: key}
}

func TestHostChoosesCertificate(t *testing.T) {
	m := newManager(t, nil)
	broken := filesOf(t, "broken.test", 9)
	broken.Key = broken.Cert
	m.Apply([]Want{
		filesOf(t, "a.example.test", 1), filesOf(t, "*.example.test", 2), filesOf(t, "example.test", 3),
		filesOf(t, "a.example.test", 4), broken, {Host: "late.test", From: holdfast.CertFiles},
	})
	for _, c := range []struct {
		name   string
		serial int64 // 0: no certificate
	}{
		{"a.example.test", 1},
		{"A.Example.Test", 1},
		{"b.example.test", 2},
		{"example.test", 3},
		{"x.b.example.test", 0},
		{"other.test", 0},
		{"broken.test", 0},
		{"late.test", 0},
	} {
		got, err := handshake(t, m, c.name, nil)
		if c.serial == 0 {
			if err == nil || m.Ready(c.name) {
				t.Errorf("%s was given %v, ready %v", c.name, got.SerialNumber, m.Ready(c.name))
			}
			continue
		}
		if err != nil || got.SerialNumber.Int64() != c.serial {
			t.Errorf("%s was given %v, %v, not certificate %d", c.name, got, err, c.serial)
		}
	}
	m.Apply([]Want{filesOf(t, "", 7)})
	if got, err := handshake(t, m, "any.test", nil); err != nil || got.SerialNumber.Int64() != 7 {
		t.Errorf("a route of any host: %v, %v", got, err)
	}
}

func TestLocalAuthority(t *testing.T) {
	now := time.Now()
	m := newManager(t, func(c *Config) { c.Now = func() time.Time { return now } })
	m.Apply([]Want{{Host: "*.dev.test", From: holdfast.CertLocal}, {Host: "127.0.0.1", From: holdfast.CertLocal}})
	text, err := m.LocalRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) || bytes.Contains(text, []byte("PRIVATE")) {
		t.Fatalf("the root is %s", text)
	}
	first, err := handshake(t, m, "shop.dev.test", roots)
	if err != nil {
		t.Fatal(err)
	}
	again, err := handshake(t, m, "shop.dev.test", roots)
	if err != nil || !again.Equal(first) {
		t.Errorf("the second handshake was given another certificate, %v", err)
	}
	now = now.Add(leafLife * 3 / 4)
	renewed, err := handshake(t, m, "shop.dev.test", nil)
	if err != nil || renewed.Equal(first) || !renewed.NotAfter.After(first.NotAfter) {
		t.Errorf("near its end the certificate is not made anew: %v", err)
	}
	// Another gateway of the cluster signs with the same root; one with another key does not see it.
	other := newManager(t, func(c *Config) { c.State, c.KeyFile = m.cfg.State, m.cfg.KeyFile })
	if got, err := other.LocalRoot(t.Context()); err != nil || !bytes.Equal(got, text) {
		t.Errorf("another gateway has another root, %v", err)
	}
	stranger := newManager(t, func(c *Config) { c.State = m.cfg.State })
	if got, err := stranger.LocalRoot(t.Context()); err != nil || bytes.Equal(got, text) {
		t.Errorf("a gateway without the key has the same root, %v", err)
	}
}

func TestLeavesAreBounded(t *testing.T) {
	m := newManager(t, nil)
	for i := range leavesKept + 10 {
		if _, err := m.local.leaf(t.Context(), "h"+strings.Repeat("x", i%50)+"."+strings.Repeat("y", i/50+1)+".test"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(m.local.leaves); n != leavesKept || m.local.recent.Len() != n {
		t.Errorf("%d leaves are kept", n)
	}
}

func TestOldProtocolsAreRefused(t *testing.T) {
	m := newManager(t, nil)
	m.Apply([]Want{{From: holdfast.CertLocal}})
	for _, c := range []struct {
		what string
		cfg  *tls.Config
		ok   bool
	}{
		{"1.1", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"1.2 without forward secrecy", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, false},
		{"1.2 with CBC", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, false},
		{"1.2", &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		{"1.3", &tls.Config{MinVersion: tls.VersionTLS13}, true},
	} {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			_ = tls.Server(server, m.TLS()).HandshakeContext(t.Context()) // the client's side tells
		}()
		c.cfg.InsecureSkipVerify, c.cfg.ServerName = true, "a.test"
		if err := tls.Client(client, c.cfg).Handshake(); (err == nil) != c.ok {
			t.Errorf("TLS %s: %v", c.what, err)
		}
		client.Close()
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	first, err := openKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, %v", info.Mode(), err)
	}
	again, err := openKey(path)
	if err != nil || again.id != first.id {
		t.Errorf("another key the second time: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := openKey(path); !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("a key that others may read: %v", err)
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil || os.Chmod(path, 0o600) != nil {
		t.Fatal(err)
	}
	if _, err := openKey(path); !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("a key that is none: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestVault(t *testing.T) {
	st := openStore(t)
	v, err := newVault(st, filepath.Join(t.TempDir(), "key"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	secret := []byte("-----BEGIN PRIVATE KEY-----")
	for _, name := range []string{"a/b/one.key", "a/b/two.key", "a/c", "ab"} {
		if err := v.Store(ctx, name, append(secret, name...)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := v.Load(ctx, "a/c"); err != nil || string(got) != string(secret)+"a/c" {
		t.Errorf("loaded %q, %v", got, err)
	}
	for _, s := range st.Snapshot().Sealed.All("") {
		if bytes.Contains(s.Data, []byte("PRIVATE")) {
			t.Errorf("%s is stored in clear", s.Name)
		}
	}
	for _, c := range []struct {
		path      string
		recursive bool
		want      string
	}{
		{"a", false, "a/b a/c"},
		{"a", true, "a/b/one.key a/b/two.key a/c"},
		{"a/b/", false, "a/b/one.key a/b/two.key"},
		{"", false, "a ab"},
	} {
		if got, err := v.List(ctx, c.path, c.recursive); err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("list %q: %q, %v; want %q", c.path, got, err, c.want)
		}
	}
	if info, err := v.Stat(ctx, "a"); err != nil || info.IsTerminal {
		t.Errorf("folder: %+v, %v", info, err)
	}
	if info, err := v.Stat(ctx, "a/c"); err != nil || !info.IsTerminal || info.Modified.IsZero() {
		t.Errorf("value: %+v, %v", info, err)
	}
	if err := v.Delete(ctx, "a/b"); err != nil || v.Exists(ctx, "a/b/one.key") || !v.Exists(ctx, "ab") {
		t.Errorf("delete a folder: %v", err)
	}
	for _, err := range []error{errOf(v.Load(ctx, "none")), errOf(v.Stat(ctx, "none")), errOf(v.List(ctx, "none", true))} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what is not there: %v", err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

// A value that somebody with access to the store put in another's place is not taken for it.
func TestSealedValuesAreBoundToTheirName(t *testing.T) {
	st := openStore(t)
	v, err := newVault(st, filepath.Join(t.TempDir(), "key"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Store(t.Context(), "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := st.Update(t.Context(), func(snap *store.Snapshot, tx *store.Tx) error {
		was, _ := snap.Sealed.Get(store.SealedKey(v.key.id, "a"))
		moved, cut := *was, *was
		moved.Name, cut.Name = "b", "c"
		cut.Data = cut.Data[:3]
		tx.Put(&moved)
		tx.Put(&cut)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "c"} {
		if got, err := v.Load(t.Context(), name); err == nil {
			t.Errorf("loaded %q from %s", got, name)
		}
	}
}

func TestLocksExclude(t *testing.T) {
	st, key := openStore(t), filepath.Join(t.TempDir(), "key")
	var vaults []*vault
	for range 2 {
		v, err := newVault(st, key, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		vaults = append(vaults, v)
	}
	ctx := t.Context()
	if err := vaults[0].Lock(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	for _, v := range vaults {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		if err := v.Lock(short, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("locked twice: %v", err)
		}
		cancel()
	}
	got := make(chan error)
	go func() { got <- vaults[1].Lock(ctx, "x") }()
	if err := vaults[0].Unlock(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if err := vaults[1].Unlock(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(vaults, func(v *vault) bool { return len(v.locks) > 0 }) {
		t.Error("locks are kept")
	}
}
