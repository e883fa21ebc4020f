package cli

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTrustPrint(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "gateway.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/local-root.pem" {
			http.NotFound(w, req)
			return
		}
		w.Write([]byte("ROOT\n")) //nolint:errcheck // the client tells
	})}
	go srv.Serve(l) //nolint:errcheck // ends with the test
	t.Cleanup(func() { srv.Close() })
	if out := r.ok("trust", "--print", "--socket", filepath.Join(dir, "api.sock")); out != "ROOT\n" {
		t.Errorf("printed %q", out)
	}
	got := r.run("trust", "--print", "--socket", filepath.Join(t.TempDir(), "api.sock"))
	if got.code == 0 || !strings.Contains(got.errout, "no gateway answers") {
		t.Errorf("without a gateway: %d %s", got.code, got.errout)
	}
}

// Debian's own program takes the root up, in folders of the test's.
func TestTrustInstall(t *testing.T) {
	dir := t.TempDir()
	local, etc := filepath.Join(dir, "local"), filepath.Join(dir, "etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	cert := filepath.Join(dir, "c.pem")
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-days", "2", "-subj", "/CN=test", "-keyout", "/dev/null", "-out", cert).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	root, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := trustStore{local, []string{"update-ca-certificates", "--certsconf", conf, "--localcertsdir", local, "--etccertsdir", etc, "--hooksdir", dir}}
	if _, err := s.install(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(etc, "ca-certificates.crt"))
	if err != nil || !strings.Contains(string(bundle), strings.TrimSpace(string(root))) {
		t.Errorf("the bundle lacks the root: %v", err)
	}
}
