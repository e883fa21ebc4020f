package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const limit = 32 << 10

func parse(head string) (*Request, bool, error) {
	r := &Request{}
	ok, err := r.Parse([]byte(head), limit)
	return r, ok, err
}

func TestRequestIsParsed(t *testing.T) {
	head := "\r\nPUT /a/b?c=/d?e HTTP/1.1\r\nHost: a.test:80\r\nX-One: 1\r\nconnection: Keep-Alive, x-two\r\nX-Two: 2\r\n" +
		"Content-Length:  12 \r\nX-Forwarded-For: 6.6.6.6\r\nX-Three:\t3 \r\nTE: trailers\r\nProxy-Connection: x\r\n\r\nbody"
	r, ok, err := parse(head)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if string(r.Method) != "PUT" || string(r.Target) != "/a/b?c=/d?e" || string(r.Path) != "/a/b" || string(r.Host) != "a.test:80" {
		t.Errorf("got %s %s %s %s", r.Method, r.Target, r.Path, r.Host)
	}
	if r.Length != 12 || !r.Sized || r.Chunked || r.Close || r.Minor != 1 || r.Size != len(head)-4 {
		t.Errorf("got %+v", r)
	}
	if got, want := string(r.AppendFields(nil, []byte(head))), "Host: a.test:80\r\nX-One: 1\r\nX-Three:\t3 \r\n"; got != want {
		t.Errorf("forwarded %q, want %q", got, want)
	}
}

func TestBadRequests(t *testing.T) {
	const host = "Host: a\r\n"
	for head, want := range map[string]int{
		"GET / HTTP/1.1\r\n\r\n":                                                                  400, // no Host
		"GET / HTTP/1.1\r\n" + host + host + "\r\n":                                               400,
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n":                                                     400,
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n":                                                     400,
		"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n":                                                     400,
		"GET / HTTP/1.1\r\nHost: \"\r\n\r\n":                                                      400,
		"GET / HTTP/1.1\r\nHost : a\r\n\r\n":                                                      400,
		"GET / HTTP/1.1\r\n Host: a\r\n\r\n":                                                      400,
		"GET / HTTP/1.1\n" + host + "\r\n":                                                        400, // bare LF
		"GET / HTTP/1.1\r\nHost: a\n\r\n":                                                         400,
		"GET / HTTP/1.1\r\n" + host + "\n":                                                        400,
		"GET / HTTP/1.1\r\n" + host + "X: a\rb\r\n\r\n":                                           400, // bare CR
		"GET / HTTP/1.1\r\n" + host + "X: a\r\n b\r\n\r\n":                                        400, // fold
		"GET / HTTP/1.1\r\n" + host + "X: a\r\n\tb\r\n\r\n":                                       400,
		"GET / HTTP/1.1\r\n" + host + "X: \x00\r\n\r\n":                                           400,
		"GET / HTTP/1.1\r\n" + host + "X\x00: a\r\n\r\n":                                          400,
		"GET / HTTP/1.1\r\n" + host + ": a\r\n\r\n":                                               400,
		"GET / HTTP/1.1\r\n" + host + "X\r\n\r\n":                                                 400,
		"GET / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n":            400,
		"GET / HTTP/1.1\r\n" + host + "Content-Length: 1, 1\r\n\r\n":                              400,
		"GET / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\n":                                400,
		"GET / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n":                                400,
		"GET / HTTP/1.1\r\n" + host + "Content-Length: 0x1\r\n\r\n":                               400,
		"GET / HTTP/1.1\r\n" + host + "Content-Length: 1_0\r\n\r\n":                               400,
		"GET / HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n":                                   400,
		"GET / HTTP/1.1\r\n" + host + "Content-Length: 9999999999999999999\r\n\r\n":               400,
		"GET / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n":   400,
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, chunked\r\n\r\n":               501,
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n":                  501,
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: identity\r\n\r\n":                       501,
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: \"chunked\"\r\n\r\n":                    501,
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked;q=1\r\n\r\n":                    501,
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: chun\u212aed\r\n\r\n":                   501,
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding: \x0bchunked\r\n\r\n":                    400,
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding:chunked\r\nTransfer-Encoding: x\r\n\r\n": 501,
		"GET / HTTP/1.1\r\n" + host + "Transfer-Encoding\t: chunked\r\n\r\n":                      400,
		"GET / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n":                        501,
		"GET / HTTP/2.0\r\n" + host + "\r\n":                                                      505,
		"GET / HTTP/1.2\r\n" + host + "\r\n":                                                      505,
		"GET / http/1.1\r\n" + host + "\r\n":                                                      400,
		"GET / HTTP/1.1 \r\n" + host + "\r\n":                                                     400,
		"GET  / HTTP/1.1\r\n" + host + "\r\n":                                                     400,
		"GET /a b HTTP/1.1\r\n" + host + "\r\n":                                                   400,
		"GET /\x7f HTTP/1.1\r\n" + host + "\r\n":                                                  400,
		"GET /#a HTTP/1.1\r\n" + host + "\r\n":                                                    400,
		"GET /\r\n" + host + "\r\n":                                                               400, // HTTP/0.9
		"G(T / HTTP/1.1\r\n" + host + "\r\n":                                                      400,
		" GET / HTTP/1.1\r\n" + host + "\r\n":                                                     400,
		"\r\n\r\nGET / HTTP/1.1\r\n" + host + "\r\n":                                              400,
		"GET /" + strings.Repeat("a", limit) + " HTTP/1.1\r\n" + host + "\r\n":                    431,
		"GET / HTTP/1.1\r\n" + host + strings.Repeat("X: a\r\n", 200) + "\r\n":                    431,
		"GET / HTTP/1.1\r\n" + strings.Repeat("a", limit):                                         431,
		"GET / HTTP/1.1\r\n" + host + "Connection: " + strings.Repeat("x,", 20) + "\r\n\r\n":      431,
		strings.Repeat("a", limit):                                                                431,
	} {
		_, ok, err := parse(head)
		var e *Error
		if ok || !errors.As(err, &e) || e.Status != want {
			t.Errorf("%.120q: %v, %v; want status %d", head, ok, err, want)
		}
	}
}

func TestConnectionCannotDropWhatFramesTheMessage(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a\r\nConnection: host, content-length, transfer-encoding, x-a\r\nX-A: 1\r\nContent-Length: 3\r\n\r\n"
	r, ok, err := parse(head)
	if err != nil || !ok || r.Length != 3 {
		t.Fatal(ok, err)
	}
	if got := string(r.AppendFields(nil, []byte(head))); got != "Host: a\r\n" {
		t.Errorf("forwarded %q", got)
	}
}

func TestDisguisedHeadersAreDropped(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded-For: 1\r\nContent_Length: 5\r\nx_real_ip: 1\r\nX_Own: 1\r\n\r\n"
	r, ok, err := parse(head)
	if err != nil || !ok || r.HasBody() {
		t.Fatal(ok, err)
	}
	if got := string(r.AppendFields(nil, []byte(head))); got != "Host: a\r\nX_Own: 1\r\n" {
		t.Errorf("forwarded %q", got)
	}
}

func TestResponses(t *testing.T) {
	for head, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: 1\r\n\r\n":                       `200 " 200 OK" 5 false false "X: 1\r\n"`,
		"HTTP/1.1 200\r\n\r\n":                                                       `200 " 200" -1 false false ""`,
		"HTTP/1.1 404 \r\nConnection: close\r\n\r\n":                                 `404 " 404 " -1 false true ""`,
		"HTTP/1.0 200 OK\r\n\r\n":                                                    `200 " 200 OK" -1 false true ""`,
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n":     `200 " 200 OK" 1 false false ""`,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nKeep-Alive: 1\r\n\r\n":     `200 " 200 OK" -1 true false ""`,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n": `200 " 200 OK" -1 true true ""`,
		"HTTP/1.1 200 OK\r\nA: 1\r\nConnection: b\r\nB: 2\r\nC: 3\r\n\r\n":           `200 " 200 OK" -1 false false "A: 1\r\nC: 3\r\n"`,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n":                         "transfer coding is not supported",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n":                      "transfer coding is not supported",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n":          "repeated or malformed Content-Length",
		"HTTP/1.1 99 OK!\r\n\r\n":                                                    "malformed status line",
		"HTTP/1.1 099 OK\r\n\r\n":                                                    "malformed status line",
		"HTTP/2.0 200 OK\r\n\r\n":                                                    "malformed status line",
		"HTTP/1.1 200 O\x00K\r\n\r\n":                                                "malformed status line",
		"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n":                                         "malformed header value",
		"SSH-2.0-OpenSSH_9.2\r\n":                                                    "malformed status line",
	} {
		r := &Response{}
		ok, err := r.Parse([]byte(head), limit)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprintf("%d %q %d %v %v %q", r.Status, r.Reason, r.Length, r.Chunked, r.Close, r.AppendFields(nil, []byte(head)))
		}
		if got != want || ok != (err == nil) {
			t.Errorf("%q: %s; want %s", head, got, want)
		}
	}
}

func TestChunks(t *testing.T) {
	for body, want := range map[string]string{
		"0\r\n\r\n":                              "5",
		"3\r\nabc\r\n0\r\n\r\nnext":              "13",
		"3;a=b\r\nabc\r\n00\r\nX: y\r\n\r\n":     "24",
		"A\r\n0123456789\r\n0\r\n\r\n":           "20",
		"3\r\nab":                                "more",
		"3\nabc\r\n0\r\n\r\n":                    "malformed chunk",
		"3\r\nabcd\r\n":                          "malformed chunk",
		"3\r\nabc\n0\r\n\r\n":                    "malformed chunk",
		"\r\n":                                   "malformed chunk",
		"0x3\r\nabc":                             "malformed chunk",
		"-1\r\n":                                 "malformed chunk",
		" 3\r\nabc":                              "malformed chunk",
		"3 \r\nabc":                              "malformed chunk",
		"3;a\nb\r\n":                             "malformed chunk",
		"3;a\rb\r\n":                             "malformed chunk",
		"1000000000000000\r\n":                   "malformed chunk",
		"3;" + strings.Repeat("a", 2000):         "malformed chunk",
		"0\r\nX : y\r\n\r\n":                     "malformed trailer",
		"0\r\n: y\r\n\r\n":                       "malformed trailer",
		"0\r\nX: y\n\r\n":                        "malformed trailer",
		"0\r\nContent-Length: 1\r\n\r\n":         "malformed trailer",
		"0\r\ntransfer-encoding: x\r\n\r\n":      "malformed trailer",
		"0\r\nHost: x\r\n\r\n":                   "malformed trailer",
		"0\r\nX: " + strings.Repeat("y", 10_000): "malformed trailer",
	} {
		for _, step := range []int{1, 3, 1 << 20} { // whatever the pieces, the result is the same
			if got := scan(body, step); got != want {
				t.Errorf("%.60q in steps of %d: %s, want %s", body, step, got, want)
			}
		}
	}
}

func scan(body string, step int) string {
	var c Chunks
	for at := 0; at < len(body); {
		n, done, err := c.Scan([]byte(body[at:min(at+step, len(body))]))
		if err != nil {
			return err.Error()
		}
		if at += n; done {
			return fmt.Sprint(at)
		}
	}
	return "more"
}

func TestComplete(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for old := 0; old < len(head); old++ {
		for n := old + 1; n <= len(head); n++ {
			if got, want := Complete([]byte(head[:n]), old), n == len(head); got != want {
				t.Fatalf("Complete(%q, %d) = %v", head[:n], old, got)
			}
		}
	}
}

func TestParsingDoesNotAllocate(t *testing.T) {
	req := []byte("GET /a?b HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\nAccept: */*\r\n\r\n")
	resp := []byte("HTTP/1.1 200 OK\r\nServer: x\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n")
	var q Request
	var p Response
	out := make([]byte, 0, 1000)
	n := testing.AllocsPerRun(100, func() {
		if ok, err := q.Parse(req, limit); !ok || err != nil {
			t.Fatal(err)
		}
		if ok, err := p.Parse(resp, limit); !ok || err != nil {
			t.Fatal(err)
		}
		out = q.AppendFields(out[:0], req)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRequest takes net/http as the oracle: what Parse accepts, net/http reads the same way, to the last byte of the
// body.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /a?b HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\nX: y\r\n\r\nabcGET",
		"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\nrest",
		"GET http://x/ HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\nX: 1\r\nX: 2\r\n\r\n",
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost:\r\nExpect: 100-continue\r\nUpgrade: websocket\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Request
		ok, err := r.Parse(data, limit)
		if err != nil || !ok {
			return
		}
		if _, err := url.ParseRequestURI(string(r.Target)); err != nil {
			return // the oracle reads the target as a URL; we pass it on as it is
		}
		from := bytes.TrimPrefix(data, []byte("\r\n"))
		whole := bytes.NewReader(from)
		br := bufio.NewReader(whole)
		want, err := http.ReadRequest(br)
		if err != nil {
			t.Fatalf("accepted %q, which net/http refuses: %v", data, err)
		}
		compareHeads(t, &r, want, data)
		body, err := io.ReadAll(want.Body)
		n, done := bodyOf(&r, data[r.Size:])
		if !done {
			return
		}
		if err != nil {
			t.Fatalf("%q: net/http cannot read the body: %v", data, err)
		}
		rest := whole.Len() + br.Buffered()
		if have := len(data) - r.Size - n; have != rest {
			t.Fatalf("%q: %d bytes are left after the body, net/http says %d (body %q)", data, have, rest, body)
		}
	})
}

func bodyOf(r *Request, p []byte) (n int, done bool) {
	if r.Chunked {
		var c Chunks
		n, done, err := c.Scan(p)
		return n, done && err == nil
	}
	return int(min(r.Length, int64(len(p)))), int64(len(p)) >= r.Length
}

func compareHeads(t *testing.T, r *Request, want *http.Request, data []byte) {
	t.Helper()
	if string(r.Method) != want.Method || string(r.Target) != want.RequestURI || r.Minor != want.ProtoMinor {
		t.Fatalf("%q: %s %s 1.%d, net/http: %s %s %s", data, r.Method, r.Target, r.Minor, want.Method, want.RequestURI, want.Proto)
	}
	if r.Target[0] == '/' && !bytes.HasPrefix(r.Target, []byte("//")) && string(r.Host) != want.Host {
		t.Fatalf("%q: host %q, net/http: %q", data, r.Host, want.Host)
	}
	if r.Chunked != (len(want.TransferEncoding) > 0) || !r.Chunked && r.Length != want.ContentLength {
		t.Fatalf("%q: chunked %v, length %d; net/http: %v, %d", data, r.Chunked, r.Length, want.TransferEncoding, want.ContentLength)
	}
	for _, l := range strings.Split(string(r.AppendFields(nil, data)), "\r\n") {
		if l == "" {
			continue
		}
		name, value, _ := strings.Cut(l, ":")
		key := http.CanonicalHeaderKey(name)
		found := key == "Host"
		for _, v := range want.Header[key] {
			found = found || v == strings.Trim(value, " \t")
		}
		if !found {
			t.Fatalf("%q: forwards %q, net/http has %q", data, l, want.Header)
		}
	}
}

// FuzzResponse takes net/http as the oracle.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
		"HTTP/1.1 204\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nX: y\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Response
		if ok, err := r.Parse(data, limit); err != nil || !ok {
			return
		}
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("accepted %q, which net/http refuses: %v", data, err)
		}
		if r.Status != want.StatusCode {
			t.Fatalf("%q: status %d, net/http: %d", data, r.Status, want.StatusCode)
		}
		if r.Bodyless(false) {
			return
		}
		if r.Chunked != (len(want.TransferEncoding) > 0) || !r.Chunked && r.Length != want.ContentLength {
			t.Fatalf("%q: chunked %v, length %d; net/http: %v, %d", data, r.Chunked, r.Length, want.TransferEncoding, want.ContentLength)
		}
	})
}

// FuzzChunks checks that pieces do not matter.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\nrest"), 2)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		if step = max(step, 1); scan(string(data), step) != scan(string(data), len(data)+1) {
			t.Fatalf("%q in steps of %d: %s, at once: %s", data, step, scan(string(data), step), scan(string(data), len(data)+1))
		}
	})
}
