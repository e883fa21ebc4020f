package filter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/holdfast/holdfast"
)

func TestNegotiate(t *testing.T) {
	all := []string{"zstd", "br", "gzip"}
	for _, c := range []struct{ accept, want string }{
		{"", ""},
		{"gzip", "gzip"},
		{"GZIP", "gzip"},
		{"gzip, br", "br"},
		{"gzip;q=1, br;q=0.5", "gzip"},
		{"gzip; q=0.3 , br;Q=0.5", "br"},
		{"*", "zstd"},
		{"*;q=0.5, gzip", "gzip"},
		{"zstd;q=0, *", "br"},
		{"identity, *;q=0", ""},
		{"gzip;q=nonsense", ""},
		{"gzip;q=2", ""},
		{"gzip;q=NaN", ""},
		{"gzip;x=1", "gzip"},
		{"deflate", ""},
		{",;,", ""},
	} {
		if got := negotiate([]string{c.accept}, all); got != c.want {
			t.Errorf("%q: %q, want %q", c.accept, got, c.want)
		}
	}
	if got := negotiate([]string{"br;q=0.1", "gzip"}, all); got != "gzip" {
		t.Errorf("two lines: %q", got)
	}
}

func TestOriginMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, origin string
		want            bool
	}{
		{"https://a.test", "https://a.test", true},
		{"https://a.test", "https://A.test", true},
		{"https://a.test", "http://a.test", false},
		{"https://a.test", "https://a.test.evil", false},
		{"https://*.a.test", "https://x.a.test", true},
		{"https://*.a.test", "https://x.y.a.test", true},
		{"https://*.a.test", "https://a.test", false},
		{"https://*.a.test", "https://.a.test", false},
		{"https://*.a.test", "https://evil.test/.a.test", false},
		{"https://*.a.test", "https://evil.test:1.a.test", false},
		{"https://*.a.test", "https://u@x.a.test", false},
		{"https://*.a.test:8443", "https://x.a.test:8443", true},
		{"https://*.a.test", "null", false},
		{"https://*.a.test", "", false},
	} {
		if got := originMatches(c.pattern, c.origin); got != c.want {
			t.Errorf("%s, %s: %v", c.pattern, c.origin, got)
		}
	}
}

func TestTokenBucket(t *testing.T) {
	l := limiterOf(t, 2, time.Second, 3)
	now := time.Unix(1000, 0)
	for i, c := range []struct {
		after time.Duration
		wait  time.Duration
	}{
		{0, 0},
		{0, 0},
		{0, 0},
		{0, 500 * time.Millisecond},
		{400 * time.Millisecond, 100 * time.Millisecond},
		{100 * time.Millisecond, 0},
		{0, 500 * time.Millisecond},
		{time.Hour, 0}, // full again, and no fuller
		{0, 0},
		{0, 0},
		{0, 500 * time.Millisecond},
	} {
		now = now.Add(c.after)
		if got := l.take(1, now); got != c.wait {
			t.Errorf("request %d: wait %s, want %s", i, got, c.wait)
		}
	}
	if l.take(2, now) != 0 {
		t.Error("another's bucket is empty")
	}
}

func limiterOf(t *testing.T, requests int, per time.Duration, burst int) *limiter {
	t.Helper()
	l, err := rateLimit(&holdfast.Route{RateLimit: &holdfast.RateLimit{
		Requests: requests, Per: holdfast.Duration(per), Burst: burst, By: "client",
	}}, Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return l.(*limiter)
}

func TestBucketsAreBounded(t *testing.T) {
	l, now := limiterOf(t, 1, time.Second, 1), time.Unix(1000, 0)
	for key := range uint64(3 * maxBuckets / 2) {
		l.take(key, now)
	}
	if n := len(l.full); n > maxBuckets {
		t.Errorf("%d buckets", n)
	}
	l.take(1<<40, now.Add(time.Hour))
	if n := len(l.full); n > maxBuckets {
		t.Errorf("%d buckets an hour later", n)
	}
}

func TestWhoSharesABucket(t *testing.T) {
	l := limiterOf(t, 1, time.Second, 1)
	key := func(addr string) uint64 { return l.key(&http.Request{RemoteAddr: addr}) }
	if key("192.0.2.1:1") != key("192.0.2.1:2") || key("192.0.2.1:1") == key("192.0.2.2:1") {
		t.Error("IPv4 goes by address")
	}
	if key("[2001:db8::1]:1") != key("[2001:db8::2]:1") || key("[2001:db8::1]:1") == key("[2001:db8:0:1::1]:1") {
		t.Error("IPv6 goes by /64")
	}
	if key("[::ffff:192.0.2.1]:1") != key("192.0.2.1:1") {
		t.Error("a mapped address is another client")
	}
}

func TestParseUsers(t *testing.T) {
	const hash = "$2a$04$oSbyORJAQrgpreB1NLy1A./bnAWrI2N2c7Q0SjJJ4oNu/SUiFAlFq"
	for text, want := range map[string]int{
		"a:" + hash: 1,
		"# x\n\na:" + hash + "\r\nb:{SHA256}" + strings.Repeat("0A", 32): 2,
		"a:secret":                          0,
		"a:{SHA256}00":                      0,
		"a":                                 0,
		":" + hash:                          0,
		"":                                  0,
		"a:" + hash + "\na:" + hash:         0,
		"a:$2a$31$" + hash[7:]:              0,
		"a:$apr1$x$abcdefghijklmnopqrstuv.": 0,
	} {
		users, err := ParseUsers([]byte(text))
		if (err == nil) != (want > 0) || len(users) != want {
			t.Errorf("%q: %d users, %v", text, len(users), err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells what the file holds: %v", err)
		}
	}
}

// TestPasswordCheckEnds: one that waits for its turn gives up with its client.
func TestPasswordCheckEnds(t *testing.T) {
	for range maxHashing {
		hashing <- struct{}{}
	}
	defer func() {
		for range maxHashing {
			<-hashing
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if verify(ctx, "$2a$04$oSbyORJAQrgpreB1NLy1A./bnAWrI2N2c7Q0SjJJ4oNu/SUiFAlFq", "x") {
		t.Error("taken")
	}
}

func TestBadRulesAreRefused(t *testing.T) {
	for name, r := range map[string]holdfast.Route{
		"expression":      {Rewrite: &holdfast.PathRewrite{Regexp: "[", To: "/"}},
		"long expression": {Rewrite: &holdfast.PathRewrite{Regexp: strings.Repeat("a", maxPattern+1), To: "/"}},
		"address":         {Allow: []string{"example.com"}},
		"prefix":          {Deny: []string{"10.0.0.0/99"}},
		"rate":            {RateLimit: &holdfast.RateLimit{}},
		"users":           {BasicAuth: &holdfast.BasicAuth{}},
		"page":            {ErrorPages: []holdfast.ErrorPage{{Status: "404"}}},
		"maintenance":     {Maintenance: &holdfast.Maintenance{Page: &holdfast.FileRef{}}},
	} {
		if _, err := Compile(&r, Options{File: func(holdfast.FileRef) ([]byte, bool) { return nil, false }}); err == nil {
			t.Errorf("%s: compiled", name)
		}
	}
}

func chainOf(t testing.TB, r *holdfast.Route) *Chain {
	t.Helper()
	c, err := Compile(r, Options{File: func(ref holdfast.FileRef) ([]byte, bool) { return []byte("content of " + ref.Name), true }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// FuzzChain sends what strangers may send through all filters: nothing panics, what is compressed can be read, and a
// redirect stays with its host.
func FuzzChain(f *testing.F) {
	f.Add("GET", "/a//b%2f", "gzip;q=1", "https://a.test", "X-A", "Basic YTpi")
	f.Add("OPTIONS", "//evil", "*", "null", "PUT", "Basic !")
	f.Add("POST", "/x?y", ",;q=", "https://x.a.test", "a, b,,", "")
	rules := holdfast.Route{
		PathPrefix: "/a", Rewrite: &holdfast.PathRewrite{Prefix: "/b"},
		Deny:        []string{"10.0.0.0/8"},
		RateLimit:   &holdfast.RateLimit{Requests: 1000, Per: 1, Burst: 1000, By: "header", Header: "Authorization"},
		CORS:        &holdfast.CORS{Origins: []string{"https://*.a.test"}, Headers: []string{"*"}, Credentials: true},
		Compress:    &holdfast.Compress{Encodings: []string{"gzip"}, MinBytes: 1, Types: []string{"text/*"}},
		ErrorPages:  []holdfast.ErrorPage{{Status: "4xx"}},
		Maintenance: &holdfast.Maintenance{Allow: []string{"192.0.2.0/24"}},
	}
	chain := chainOf(f, &rules)
	rules.Redirect = &holdfast.Redirect{Code: 308}
	away := chainOf(f, &rules)
	f.Fuzz(func(t *testing.T, method, target, accept, origin, wanted, auth string) {
		r, err := http.NewRequest(method, "http://a.test", nil)
		if err != nil {
			return
		}
		r.RemoteAddr, r.URL.Path = "192.0.2.1:1", target
		r.Header = http.Header{
			"Accept-Encoding": {accept}, "Origin": {origin}, "Access-Control-Request-Method": {wanted},
			"Access-Control-Request-Headers": {wanted}, "Authorization": {auth},
		}
		w := httptest.NewRecorder()
		chain.Serve(w, r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "hello, ", target)
		}))
		body := w.Body.Bytes()
		if w.Header().Get("Content-Encoding") == "gzip" && method != http.MethodHead {
			from, err := gzip.NewReader(bytes.NewReader(body))
			if err == nil {
				body, err = io.ReadAll(from)
			}
			if err != nil {
				t.Fatalf("unreadable: %v", err)
			}
		}
		if w.Code == 200 && string(body) != "hello, "+target {
			t.Fatalf("body %q", body)
		}
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" && !strings.HasSuffix(strings.ToLower(got), ".a.test") {
			t.Fatalf("origin %q allowed", got)
		}
		if p := chain.Path(target); p != "" && p[0] != '/' && chain.path.to != "" {
			t.Fatalf("path %q", p)
		}
		w = httptest.NewRecorder()
		away.Serve(w, r, nil)
		if to := w.Header().Get("Location"); w.Code == 308 && !strings.HasPrefix(to, "http://a.test/") {
			t.Fatalf("redirected to %q", to)
		}
	})
}

// FuzzUsers: what is taken has only hashes.
func FuzzUsers(f *testing.F) {
	f.Add("a:b")
	f.Add("a:$2a$04$oSbyORJAQrgpreB1NLy1A./bnAWrI2N2c7Q0SjJJ4oNu/SUiFAlFq\n#x")
	f.Fuzz(func(t *testing.T, text string) {
		users, err := ParseUsers([]byte(text))
		for name, hash := range users {
			if err != nil || name == "" || !validHash(hash) {
				t.Fatalf("%q: %q, %v", name, hash, err)
			}
		}
	})
}
