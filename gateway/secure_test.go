package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// tlsRig is a rig whose gateway serves HTTPS too.
type tlsRig struct {
	*rig
	secure string // address of HTTPS
	roots  *x509.CertPool
	root   []byte // PEM
}

func newTLSRig(t *testing.T, engine func(*Config)) *tlsRig {
	t.Helper()
	key := filepath.Join(t.TempDir(), "gateway.key")
	r := newRig(t, func(c *Config) {
		engine(c)
		c.TLS = TLS{Listen: []string{"127.0.0.1:0"}, KeyFile: key}
	})
	root, err := r.gw.LocalRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	return &tlsRig{rig: r, secure: r.gw.HTTPSAddrs()[0].String(), roots: roots, root: root}
}

// https returns a client that finds every host at the gateway, speaks proto ("h2", "http/1.1") and follows no redirect.
func (r *tlsRig) https(proto string) *http.Client {
	c := r.client()
	tr := c.Transport.(*http.Transport)
	tr.TLSClientConfig = &tls.Config{RootCAs: r.roots}
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetHTTP1(proto != "h2")
	tr.Protocols.SetHTTP2(proto == "h2")
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		to := r.secure
		if strings.HasSuffix(addr, ":80") {
			to = r.addr
		}
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}
	return c
}

func (r *tlsRig) ask(c *http.Client, url string) (*http.Response, string) {
	r.t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(body)
}

// secureSpec has a route of shop.test with TLS, and one of plain.test without.
func secureSpec(port uint16, t *holdfast.TLS) holdfast.Spec {
	return holdfast.Spec{Routes: []holdfast.Route{{Host: "plain.test", Port: port}, {Host: "shop.test", Port: port, TLS: t}}}
}

func local() *holdfast.TLS {
	return &holdfast.TLS{From: holdfast.CertLocal, HSTS: holdfast.Duration(24 * time.Hour)}
}

func TestHTTPS(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r := newTLSRig(t, engine)
		port := freePort(t)
		r.deploy(1, secureSpec(port, local()))
		r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Strict-Transport-Security", "max-age=1")
			fmt.Fprint(w, req.Proto, " ", req.Host, " ", req.Header.Get("X-Forwarded-Proto"), " ", req.Header.Get("Forwarded"))
		}))
		for _, proto := range []string{"h2", "http/1.1"} {
			resp, body := r.ask(r.https(proto), "https://shop.test/x")
			if resp.StatusCode != 200 || !strings.HasPrefix(body, "HTTP/1.1 shop.test https ") || !strings.Contains(body, "proto=https") {
				t.Errorf("%s: %d %q", proto, resp.StatusCode, body)
			}
			if (resp.ProtoMajor == 2) != (proto == "h2") {
				t.Errorf("asked in %s, answered in %s", proto, resp.Proto)
			}
			if got := resp.Header["Strict-Transport-Security"]; len(got) != 1 || got[0] != "max-age=86400" {
				t.Errorf("HSTS is %q", got)
			}
		}
		if _, err := r.https("h2").Get("https://plain.test/"); err == nil || !strings.Contains(err.Error(), "tls") {
			t.Errorf("a host without TLS: %v", err)
		}
	})
}

func TestClearTextGoesToHTTPS(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r := newTLSRig(t, engine)
		port := freePort(t)
		r.deploy(1, secureSpec(port, local()))
		r.serve(1, port, text("hello"))
		_, number, _ := net.SplitHostPort(r.secure)
		c := r.https("h2")
		for _, url := range []string{"http://shop.test/a/b?c=d%20e", "http://SHOP.test:80/a/b?c=d%20e"} {
			resp, _ := r.ask(c, url)
			want := "https://shop.test:" + number + "/a/b?c=d%20e"
			if got := resp.Header.Get("Location"); resp.StatusCode != 308 || !strings.EqualFold(got, want) {
				t.Errorf("%s: %d to %q, want %q", url, resp.StatusCode, got, want)
			}
			if resp.Header.Get("Strict-Transport-Security") != "" {
				t.Error("HSTS in clear text")
			}
		}
		resp, body := r.ask(c, "http://plain.test/.well-known/acme-challenge/x")
		if resp.StatusCode != 200 || body != "hello" {
			t.Errorf("a host without TLS: %d %q", resp.StatusCode, body)
		}
		c.CheckRedirect = nil
		if resp, body := r.ask(c, "http://shop.test/"); body != "hello" || resp.ProtoMajor != 2 {
			t.Errorf("followed: %s %q", resp.Proto, body)
		}
	})
}

// A release whose secret has another certificate is served with it on the same listener; connections stay.
func TestCertificateOfFilesIsRenewed(t *testing.T) {
	r := newTLSRig(t, func(*Config) {})
	port := freePort(t)
	c := r.https("h2")
	var was string
	for release := 1; release <= 2; release++ {
		both := r.file("pair", leafPEM(t)) // one file may hold certificate and key
		r.deploy(release, secureSpec(port, &holdfast.TLS{From: holdfast.CertFiles, Cert: both, Key: both}))
		if release == 1 {
			r.serve(1, port, text("hello"))
		}
		c.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true
		r.eventually("the new certificate", func() bool {
			conn, err := tls.Dial("tcp", r.secure, &tls.Config{ServerName: "shop.test", InsecureSkipVerify: true}) //nolint:gosec // asked which it is
			if err != nil {
				return false
			}
			defer conn.Close()
			serial := conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
			if serial == was {
				return false
			}
			was = serial
			return true
		})
		if resp, body := r.ask(c, "https://shop.test/"); body != "hello" || resp.StatusCode != 200 {
			t.Errorf("release %d: %d %q", release, resp.StatusCode, body)
		}
	}
}

func (r *tlsRig) file(name string, data []byte) holdfast.FileRef {
	r.t.Helper()
	sum := sha256.Sum256(data)
	f := &holdfast.File{App: "shop", Name: holdfast.GatewayFile + name, Secret: true, Digest: "sha256:" + hex.EncodeToString(sum[:]), Data: data}
	r.update(func(_ *store.Snapshot, tx *store.Tx) { tx.Put(f) })
	return holdfast.FileRef{Name: f.Name, Digest: f.Digest}
}

// leafPEM is a certificate for shop.test and its key, made by openssl as a user would.
func leafPEM(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=shop.test", "-addext", "subjectAltName=DNS:shop.test", "-keyout", dir+"/key", "-out", dir+"/cert")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	var all []byte
	for _, name := range []string{"cert", "key"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	return all
}

// curl, which is OpenSSL and nghttp2, agrees with us on TLS 1.2 and 1.3, HTTP/1.1 and 2.
func TestCurl(t *testing.T) {
	r := newTLSRig(t, func(*Config) {})
	port := freePort(t)
	r.deploy(1, secureSpec(port, local()))
	r.serve(1, port, text("hello"))
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, r.root, 0o600); err != nil {
		t.Fatal(err)
	}
	_, number, _ := net.SplitHostPort(r.secure)
	for _, c := range []struct{ args, want string }{
		{"--http2 --tlsv1.3", "hello 2 200"},
		{"--http1.1 --tlsv1.3", "hello 1.1 200"},
		{"--http2 --tls-max 1.2", "hello 2 200"},
	} {
		args := append(strings.Fields(c.args), "-sS", "--cacert", root, "--resolve", "shop.test:"+number+":127.0.0.1",
			"-w", " %{http_version} %{response_code}", "https://shop.test:"+number+"/")
		out, err := exec.Command("curl", args...).CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("curl %s: %q, %v", c.args, out, err)
		}
	}
}

func TestWebSocketOverTLS(t *testing.T) {
	r := newTLSRig(t, func(*Config) {})
	port := freePort(t)
	r.deploy(1, secureSpec(port, local()))
	r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c, err := websocket.Accept(w, req, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		kind, data, err := c.Read(req.Context())
		if err == nil {
			_ = c.Write(req.Context(), kind, data)
		}
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "wss://shop.test/", &websocket.DialOptions{HTTPClient: r.https("http/1.1")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.MessageText, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, data, err := c.Read(ctx); err != nil || string(data) != "ping" {
		t.Errorf("%q, %v", data, err)
	}
}

// A request over HTTP/2 waits for a replica, and a replica that leaves finishes the one it has while the next goes to
// another, all on one connection.
func TestHTTP2HoldsAndDrains(t *testing.T) {
	r := newTLSRig(t, func(*Config) {})
	port := freePort(t)
	r.deploy(1, secureSpec(port, local()))
	c := r.https("h2")
	answers := make(chan string, 2)
	ask := func() {
		resp, body := r.ask(c, "https://shop.test/")
		answers <- fmt.Sprint(resp.StatusCode, " ", body)
	}
	r.eventually("HTTPS", func() bool { return r.gw.tls.Port("shop.test") != 0 })
	go ask()
	r.eventually("a request is held", func() bool { return held(r.rig) == 1 })
	reached, finish := make(chan bool), make(chan bool)
	old := r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached <- true
		<-finish
		io.WriteString(w, "old")
	}))
	<-reached
	r.serve(1, port, text("new"))
	old.drain()
	ask()
	if got := <-answers; got != "200 new" {
		t.Errorf("while the old replica leaves: %s", got)
	}
	if n := old.record(); n != 1 {
		t.Errorf("%d in flight to the old replica", n)
	}
	finish <- true
	if got := <-answers; got != "200 old" {
		t.Errorf("from the leaving replica: %s", got)
	}
	old.drained()
}

// held is how many requests wait.
func held(r *rig) int {
	n := 0
	for _, b := range r.gw.set.View().Backends {
		n += b.Waiting()
	}
	return n
}

// A gateway that ends lets what is in flight over HTTP/2 finish, and tells clients to go elsewhere for more.
func TestHTTP2GatewayEnds(t *testing.T) {
	r := newTLSRig(t, func(c *Config) { c.Grace = 10 * time.Second })
	port := freePort(t)
	r.deploy(1, secureSpec(port, local()))
	reached, finish := make(chan bool), make(chan bool)
	r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached <- true
		<-finish
		io.WriteString(w, "done")
	}))
	c := r.https("h2")
	got := make(chan string, 1)
	go func() {
		_, body := r.ask(c, "https://shop.test/")
		got <- body
	}()
	<-reached
	ended := make(chan bool)
	go func() { r.end(); close(ended) }()
	r.eventually("no new connection", func() bool {
		conn, err := net.Dial("tcp", r.secure)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	finish <- true
	if body := <-got; body != "done" {
		t.Errorf("in flight: %q", body)
	}
	<-ended
	r.end = func() {}
}
