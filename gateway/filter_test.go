package gateway

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/crypto/bcrypt"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// filtered is a rig whose service has one route, and a replica that tells what it saw.
func filtered(t *testing.T, engine func(*Config), route holdfast.Route, h http.Handler) *rig {
	t.Helper()
	r, port := newRig(t, engine), freePort(t)
	route.Port = port
	if h == nil {
		h = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			w.Header().Set("X-Own", "replica")
			fmt.Fprintf(w, "%s %s host=%s a=%s user=%s auth=%q body=%d", req.Method, req.RequestURI, req.Host,
				strings.Join(req.Header["X-A"], "|"), req.Header.Get("X-Forwarded-User"), req.Header.Get("Authorization"), len(body))
		})
	}
	r.deploy(1, holdfast.Spec{Routes: []holdfast.Route{route}})
	r.serve(1, port, h)
	return r
}

// putFile stores content that routes name.
func (r *rig) putFile(name, content string) holdfast.FileRef {
	sum := sha256.Sum256([]byte(content))
	f := &holdfast.File{App: "shop", Name: holdfast.GatewayFile + name, Digest: "sha256:" + hex.EncodeToString(sum[:]), Data: []byte(content)}
	r.update(func(_ *store.Snapshot, tx *store.Tx) { tx.Put(f) })
	return holdfast.FileRef{Name: f.Name, Digest: f.Digest}
}

// ask sends lines of a head and returns the answer, read in full.
func (r *rig) ask(line string, header ...string) (*http.Response, string) {
	r.t.Helper()
	head := line + " HTTP/1.1\r\nHost: a.test\r\n"
	for _, h := range header {
		head += h + "\r\n"
	}
	c, br := r.raw(head + "\r\n")
	defer c.Close()
	method, _, _ := strings.Cut(line, " ")
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		r.t.Fatalf("%s: %v", line, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s: %v", line, err)
	}
	return resp, string(body)
}

// TestRouteKeys has a case for each thing that a route does on the way.
func TestRouteKeys(t *testing.T) {
	const get = "GET /api/x?q=1"
	for _, c := range []struct {
		name   string
		route  holdfast.Route
		line   string
		header []string
		status int
		want   string // in the body
		has    string // a header of the answer, "Name: value"; "-Name" for none
	}{
		{"nothing", holdfast.Route{}, get, nil, 200, "GET /api/x?q=1 host=a.test", "X-Own: replica"},
		{"strip", holdfast.Route{PathPrefix: "/api", Strip: true, Timeout: holdfast.Duration(time.Minute)}, get, nil, 200, "GET /x?q=1", ""},
		{"rewrite prefix", holdfast.Route{PathPrefix: "/api", Rewrite: &holdfast.PathRewrite{Prefix: "/v2/y"}}, get, nil, 200, "GET /v2/y/x?q=1", ""},
		{"rewrite prefix, encoded", holdfast.Route{PathPrefix: "/api", Rewrite: &holdfast.PathRewrite{Prefix: "/v2"}}, "GET /%61pi/%2Fx", nil, 200, "GET /v2/%2Fx ", ""},
		{"rewrite expression", holdfast.Route{Rewrite: &holdfast.PathRewrite{Regexp: "^/api/(.*)$", To: "/$1/z"}}, get, nil, 200, "GET /x/z?q=1", ""},
		{"redirect to https", holdfast.Route{Redirect: &holdfast.Redirect{Code: 308, Scheme: "https"}}, get, nil, 308, "", "Location: https://a.test/api/x?q=1"},
		{"redirect elsewhere", holdfast.Route{Redirect: &holdfast.Redirect{Code: 302, Scheme: "https", Host: "b.test", Port: 8443, Path: "/new"}}, get, nil, 302, "", "Location: https://b.test:8443/new?q=1"},
		{"redirect rewritten", holdfast.Route{PathPrefix: "/api", Redirect: &holdfast.Redirect{Code: 301}, Rewrite: &holdfast.PathRewrite{Prefix: "/v2"}}, get, nil, 301, "", "Location: http://a.test/v2/x?q=1"},
		{"redirect stripped", holdfast.Route{PathPrefix: "/api", Strip: true, Redirect: &holdfast.Redirect{Code: 301}}, "GET /api//evil.test", nil, 301, "", "Location: http://a.test//evil.test"},
		{"request headers", holdfast.Route{RequestHeaders: &holdfast.HeaderEdits{
			Remove: []string{"Authorization"}, Set: map[string]string{"Host": "in.test"}, Add: map[string]string{"x-a": "2"},
		}}, get, []string{"X-A: 1", "Authorization: Bearer x"}, 200, `host=in.test a=1|2 user= auth=""`, ""},
		{"response headers set", holdfast.Route{ResponseHeaders: &holdfast.HeaderEdits{Set: map[string]string{"X-Own": "gateway"}}}, get, nil, 200, "", "X-Own: gateway"},
		{"response headers removed", holdfast.Route{ResponseHeaders: &holdfast.HeaderEdits{Remove: []string{"x-own"}}}, get, nil, 200, "", "-X-Own"},
		{"response headers of the gateway's answers", holdfast.Route{Deny: []string{"127.0.0.0/8"}, ResponseHeaders: &holdfast.HeaderEdits{Add: map[string]string{"X-New": "1"}}}, get, nil, 403, "", "X-New: 1"},
		{"deny", holdfast.Route{Deny: []string{"127.0.0.1"}, Allow: []string{"127.0.0.0/8"}}, get, nil, 403, "may not", ""},
		{"allow others", holdfast.Route{Allow: []string{"10.0.0.0/8", "::1"}}, get, nil, 403, "may not", ""},
		{"allow", holdfast.Route{Allow: []string{"10.0.0.0/8", "127.0.0.1"}}, get, nil, 200, "GET", ""},
		{"body told too large", holdfast.Route{MaxBodyBytes: 4}, "POST /", []string{"Content-Length: 5"}, 413, "at most 4", "Connection: close"},
		{"maintenance", holdfast.Route{Maintenance: &holdfast.Maintenance{RetryAfter: holdfast.Duration(time.Minute)}}, get, nil, 503, "maintenance", "Retry-After: 60"},
		{"maintenance, let through", holdfast.Route{Maintenance: &holdfast.Maintenance{Allow: []string{"127.0.0.1"}}}, get, nil, 200, "GET", ""},
		{"cors preflight", holdfast.Route{CORS: &holdfast.CORS{Origins: []string{"https://*.b.test"}, Credentials: true}}, "OPTIONS /x",
			[]string{"Origin: https://w.b.test", "Access-Control-Request-Method: PUT"}, 204, "", "Access-Control-Allow-Origin: https://w.b.test"},
		{"cors preflight of another origin", holdfast.Route{CORS: &holdfast.CORS{Origins: []string{"https://b.test"}}}, "OPTIONS /x",
			[]string{"Origin: https://b.test.evil", "Access-Control-Request-Method: PUT"}, 204, "", "-Access-Control-Allow-Origin"},
		{"cors answer", holdfast.Route{CORS: &holdfast.CORS{Origins: []string{"*"}, Expose: []string{"X-Own"}}}, get,
			[]string{"Origin: https://b.test"}, 200, "GET", "Access-Control-Expose-Headers: X-Own"},
		{"cors with a method", holdfast.Route{Methods: []string{"PUT"}, CORS: &holdfast.CORS{Origins: []string{"*"}}}, "OPTIONS /x",
			[]string{"Origin: https://b.test", "Access-Control-Request-Method: PUT"}, 204, "", "Access-Control-Allow-Origin: *"},
		{"method", holdfast.Route{Methods: []string{"PUT"}}, get, nil, 404, "no route", ""},
		{"header", holdfast.Route{Headers: []holdfast.RouteCondition{{Name: "X-A", Regexp: "[0-9]+"}}}, get, []string{"X-A: 12"}, 200, "a=12", ""},
		{"another header", holdfast.Route{Headers: []holdfast.RouteCondition{{Name: "X-A", Regexp: "[0-9]+"}}}, get, []string{"X-A: 12b"}, 404, "", ""},
		{"query", holdfast.Route{Query: []holdfast.RouteCondition{{Name: "q", Value: "1"}}}, get, nil, 200, "GET", ""},
		{"another query", holdfast.Route{Query: []holdfast.RouteCondition{{Name: "q", Value: "2"}}}, get, nil, 404, "", ""},
		{"exact", holdfast.Route{PathPrefix: "/api", Exact: true}, get, nil, 404, "", ""},
		{"expression", holdfast.Route{Regexp: "/a[a-z]+/."}, get, nil, 200, "GET", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, engine func(*Config)) {
				r := filtered(t, engine, c.route, nil)
				resp, body := r.ask(c.line, c.header...)
				if resp.StatusCode != c.status || !strings.Contains(body, c.want) {
					t.Errorf("got %d %q, want %d %q", resp.StatusCode, body, c.status, c.want)
				}
				if name, none := strings.CutPrefix(c.has, "-"); none {
					if v, ok := resp.Header[name]; ok {
						t.Errorf("%s: %q, want none", name, v)
					}
				} else if name, value, ok := strings.Cut(c.has, ": "); ok && resp.Header.Get(name) != value &&
					!(name == "Connection" && resp.Close) {
					t.Errorf("%s: %q, want %q", name, resp.Header.Get(name), value)
				}
			})
		})
	}
}

func TestBodyThatGrowsTooLarge(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r := filtered(t, engine, holdfast.Route{MaxBodyBytes: 100_000}, nil)
		for size, want := range map[int]int{100_000: 200, 100_001: 413} {
			resp, err := r.client().Post("http://"+r.addr+"/", "", struct{ io.Reader }{bytes.NewReader(make([]byte, size))})
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body.Close(); resp.StatusCode != want {
				t.Errorf("%d bytes: %d, want %d", size, resp.StatusCode, want)
			}
		}
	})
}

func TestRateIsLimitedAcrossTables(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		limit := &holdfast.RateLimit{Requests: 1, Per: holdfast.Duration(time.Hour), Burst: 2, By: "header", Header: "X-A"}
		r := filtered(t, engine, holdfast.Route{RateLimit: limit}, nil)
		for i, want := range []int{200, 200, 429} {
			if i == 2 { // another table: what was counted stays
				r.putFile("other", "x")
				r.eventually("new table", func() bool { return r.gw.Table().Revision == r.store.Snapshot().Revision })
			}
			resp, _ := r.ask("GET /", "X-A: one")
			if resp.StatusCode != want || (want == 429) != (resp.Header.Get("Retry-After") == "3600") {
				t.Errorf("request %d: %d, Retry-After %q", i, resp.StatusCode, resp.Header.Get("Retry-After"))
			}
		}
		if resp, _ := r.ask("GET /", "X-A: two"); resp.StatusCode != 200 {
			t.Errorf("another client: %d", resp.StatusCode)
		}
	})
}

func TestBasicAuth(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r := newRig(t, engine)
		port := freePort(t)
		ref := r.putFile("users", "ann:"+bcryptOf(t, "secret")+"\nbob:{SHA256}"+sha256Of("long and random")+"\n")
		r.deploy(1, holdfast.Spec{Routes: []holdfast.Route{{Port: port, BasicAuth: &holdfast.BasicAuth{Realm: "shop", Users: ref}}}})
		r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			fmt.Fprintf(w, "%s%s", req.Header.Get("X-Forwarded-User"), req.Header.Get("Authorization"))
		}))
		for _, c := range []struct {
			name, password string
			want           int
		}{
			{"ann", "secret", 200}, {"ann", "secret", 200}, {"ann", "Secret", 401}, {"bob", "long and random", 200},
			{"bob", "", 401}, {"eve", "secret", 401}, {"", "", 401},
		} {
			req, _ := http.NewRequest("GET", "http://"+r.addr+"/", nil)
			req.SetBasicAuth(c.name, c.password)
			req.Header.Set("X-Forwarded-User", "root")
			resp, err := r.client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.want || c.want == 200 && string(body) != c.name {
				t.Errorf("%s:%s: %d %q", c.name, c.password, resp.StatusCode, body)
			}
		}
		resp, _ := r.ask("GET /")
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || got != `Basic realm="shop", charset="UTF-8"` {
			t.Errorf("without a name: %d %q", resp.StatusCode, got)
		}
	})
}

// TestMissingFileClosesTheRoute has a route whose users are not there: nobody gets in.
func TestMissingFileClosesTheRoute(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		ref := holdfast.FileRef{Name: "gateway:users", Digest: "sha256:0"}
		r := filtered(t, engine, holdfast.Route{BasicAuth: &holdfast.BasicAuth{Realm: "x", Users: ref}}, nil)
		if resp, _ := r.ask("GET /"); resp.StatusCode != 503 {
			t.Errorf("got %d", resp.StatusCode)
		}
	})
}

func TestPagesTakeThePlaceOfErrors(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, holdfast.Spec{Routes: []holdfast.Route{{Port: port, ErrorPages: []holdfast.ErrorPage{
			{Status: "404", Page: r.putFile("missing.html", "<h1>not here</h1>")},
			{Status: "5xx", Page: r.putFile("sorry.json", `{"sorry":true}`)},
		}}}})
		rep := r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Content-Encoding", "nonsense")
			w.Header().Set("Etag", `"1"`)
			var status int
			fmt.Sscanf(req.URL.Path, "/%d", &status)
			w.WriteHeader(status)
			io.WriteString(w, "own words")
			w.(http.Flusher).Flush()
			io.WriteString(w, ", more")
		}))
		for _, c := range []struct {
			path, body, kind string
			status           int
		}{
			{"/404", "<h1>not here</h1>", "text/html; charset=utf-8", 404},
			{"/500", `{"sorry":true}`, "application/json", 500},
			{"/403", "own words, more", "text/plain; charset=utf-8", 403},
			{"/200", "own words, more", "text/plain; charset=utf-8", 200},
		} {
			resp, body := r.ask("GET " + c.path)
			own := strings.HasPrefix(c.body, "own")
			if resp.StatusCode != c.status || body != c.body || own != (resp.Header.Get("Etag") != "") ||
				!own && resp.Header.Get("Content-Type") != c.kind {
				t.Errorf("%s: %d %q %v", c.path, resp.StatusCode, body, resp.Header)
			}
		}
		if resp, body := r.ask("HEAD /404"); resp.ContentLength != 17 || body != "" {
			t.Errorf("HEAD: %d %q", resp.ContentLength, body)
		}
		rep.stop()
		rep.status(holdfast.Failed, false)
		r.update(func(s *store.Snapshot, tx *store.Tx) { // nothing to wait for: the gateway's own error
			svc, _ := s.Services.Get("shop/web")
			idle, zero := *svc, 0
			idle.Scale = &zero
			tx.Put(&idle)
		})
		r.eventually("idle", func() bool { return r.gw.Table().Revision == r.store.Snapshot().Revision })
		if resp, body := r.ask("GET /200"); resp.StatusCode != 503 || body != `{"sorry":true}` {
			t.Errorf("without a replica: %d %q", resp.StatusCode, body)
		}
	})
}

func TestAnswersAreCompressed(t *testing.T) {
	long := strings.Repeat("the same words again and again; ", 2000)
	rules := &holdfast.Compress{Encodings: []string{"zstd", "br", "gzip"}, MinBytes: 1024, Types: []string{"text/*", "application/json"}}
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r := filtered(t, engine, holdfast.Route{Compress: rules}, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			h, body := w.Header(), long
			h.Set("Content-Type", "text/html")
			h.Set("Etag", `"1"`)
			switch req.URL.Path {
			case "/small":
				body = "small"
			case "/png":
				h.Set("Content-Type", "image/png")
			case "/encoded":
				h.Set("Content-Encoding", "br")
			case "/as-is":
				h.Set("Cache-Control", "max-age=5, no-transform")
			case "/stream":
				io.WriteString(w, long[:5])
				w.(http.Flusher).Flush()
				io.WriteString(w, long[5:])
				return
			}
			h.Set("Content-Length", fmt.Sprint(len(body)))
			io.WriteString(w, body)
		}))
		for _, c := range []struct{ path, accept, coding string }{
			{"/", "gzip, deflate, br, zstd", "zstd"},
			{"/", "gzip, br;q=0.9", "gzip"},
			{"/", "br", "br"},
			{"/", "*", "zstd"},
			{"/", "gzip;q=0", ""},
			{"/", "identity", ""},
			{"/stream", "gzip", "gzip"},
			{"/stream", "zstd", "zstd"},
			{"/stream", "br", "br"},
			{"/small", "gzip", ""},
			{"/png", "gzip", ""},
			{"/as-is", "gzip", ""},
			{"/encoded", "gzip", "br as it was"},
		} {
			resp, body := r.ask("GET "+c.path, "Accept-Encoding: "+c.accept)
			coding := resp.Header.Get("Content-Encoding")
			if c.path == "/encoded" {
				if coding != "br" || body != long {
					t.Errorf("%s: compressed twice, or not passed on: %q", c.path, coding)
				}
				continue
			}
			plain, err := decode(coding, body)
			want := long
			if c.path == "/small" {
				want = "small"
			}
			if coding != c.coding || err != nil || plain != want {
				t.Errorf("%s for %q: coding %q, %d bytes, %v", c.path, c.accept, coding, len(plain), err)
			}
			varies := resp.Header.Get("Vary") == "Accept-Encoding"
			if compressible := c.path == "/" || c.path == "/stream"; varies != compressible {
				t.Errorf("%s: Vary %q", c.path, resp.Header.Get("Vary"))
			}
			if weak := strings.HasPrefix(resp.Header.Get("Etag"), "W/"); weak != (c.coding != "") {
				t.Errorf("%s: Etag %s", c.path, resp.Header.Get("Etag"))
			}
		}
		if resp, _ := r.ask("HEAD /", "Accept-Encoding: gzip"); resp.ContentLength != int64(len(long)) {
			t.Errorf("HEAD: length %d", resp.ContentLength)
		}
	})
}

func decode(coding, body string) (string, error) {
	var from io.Reader = strings.NewReader(body)
	var err error
	switch coding {
	case "gzip":
		from, err = gzip.NewReader(from)
	case "br":
		from = brotli.NewReader(from)
	case "zstd":
		from, err = zstd.NewReader(from)
	}
	if err != nil {
		return "", err
	}
	plain, err := io.ReadAll(from)
	return string(plain), err
}

// TestCutAnswerIsNotWholeWhenCompressed has a replica die in the middle of its answer.
func TestCutAnswerIsNotWholeWhenCompressed(t *testing.T) {
	rules := &holdfast.Compress{Encodings: []string{"gzip"}, MinBytes: 1, Types: []string{"text/plain"}}
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, holdfast.Spec{Routes: []holdfast.Route{{Port: port, Compress: rules}}})
		r.serveRaw(1, port, func(c net.Conn) {
			defer c.Close()
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\nbegin")
			}
		})
		_, br := r.raw("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return // cut before its head was sent: as good
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("the answer looked whole")
		}
	})
}

func TestRouteTimeoutAndAttempts(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		block := make(chan struct{})
		t.Cleanup(func() { close(block) })
		r := filtered(t, engine, holdfast.Route{Timeout: holdfast.Duration(50 * time.Millisecond)}, http.HandlerFunc(
			func(_ http.ResponseWriter, req *http.Request) {
				select {
				case <-block:
				case <-req.Context().Done():
				}
			}))
		if resp, _ := r.ask("GET /"); resp.StatusCode != 504 {
			t.Errorf("got %d", resp.StatusCode)
		}
	})
	for attempts, want := range map[int]int{0: 4, 1: 1, 2: 2} {
		onEach(t, func(t *testing.T, engine func(*Config)) {
			r, port := newRig(t, engine), freePort(t)
			r.deploy(1, holdfast.Spec{Routes: []holdfast.Route{{Port: port, Retries: &holdfast.RouteRetries{Attempts: attempts}}}})
			seen := make(chan bool, 10)
			r.serveRaw(1, port, func(c net.Conn) {
				defer c.Close()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					seen <- true
				}
			})
			if resp, _ := r.ask("GET /"); resp.StatusCode != 502 || len(seen) != want {
				t.Errorf("attempts %d: %d, sent %d times, want %d", attempts, resp.StatusCode, len(seen), want)
			}
		})
	}
}

func bcryptOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func sha256Of(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
