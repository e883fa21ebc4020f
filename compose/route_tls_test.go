package compose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writePair writes a certificate and its key to path.
func writePair(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{}, &x509.Certificate{}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRouteTLSProblems(t *testing.T) {
	dir := t.TempDir()
	writePair(t, filepath.Join(dir, "a.pem"))
	writePair(t, filepath.Join(dir, "b.pem"))
	t.Chdir(dir)
	b, err := os.ReadFile("b.pem")
	if err != nil {
		t.Fatal(err)
	}
	i := strings.Index(string(b), "-----BEGIN PRIVATE")
	if err := os.WriteFile("b.key", b[i:], 0o600); err != nil {
		t.Fatal(err)
	}
	for route, want := range map[string]string{
		"{host: a.com, tls: {cert: a, key: bkey}}": "belong together",
		"{host: a.com, tls: {cert: a, key: none}}": "declared neither",
		"{tls: auto}":                  "needs a host",
		"{host: '*.a.com', tls: auto}": "needs a host",
	} {
		file := "services:\n  web:\n    image: web\n    expose: [\"80\"]\n    x-holdfast: {route: " + route + "}\n" +
			"secrets: {a: {file: a.pem}, bkey: {file: b.key}}\n"
		_, err := Load(t.Context(), Options{Files: []string{"-"}, Stdin: strings.NewReader(file)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: %v", route, err)
		}
	}
}
