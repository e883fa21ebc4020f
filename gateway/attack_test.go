package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/gateway/upstream"
)

// TestSmuggledRequestsDoNotReachTheReplica sends messages whose end two servers may see in different places. Whatever the
// gateway makes of one, the replica must not see a request for /smuggled.
func TestSmuggledRequestsDoNotReachTheReplica(t *testing.T) {
	const inner = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	sized := fmt.Sprintf("Content-Length: %d\r\n", len(inner)+5)
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		// What the gateway itself takes for a second request has no route: only one that it did not see gets through.
		r.deploy(1, holdfast.Spec{Routes: []holdfast.Route{{PathPrefix: "/outer", Port: port}}})
		seen := make(chan string, 1000)
		r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			seen <- req.URL.Path
			io.Copy(io.Discard, req.Body)
		}))
		for name, head := range map[string]string{
			"CL.TE":                    sized + "Transfer-Encoding: chunked\r\n",
			"TE.CL":                    "Transfer-Encoding: chunked\r\n" + sized,
			"TE space before colon":    sized + "Transfer-Encoding : chunked\r\n",
			"TE tab before value":      sized + "Transfer-Encoding:\tchunked\r\n",
			"TE vertical tab":          sized + "Transfer-Encoding: \x0bchunked\r\n",
			"TE xchunked":              sized + "Transfer-Encoding: xchunked\r\n",
			"TE chunked, identity":     sized + "Transfer-Encoding: chunked, identity\r\n",
			"TE twice":                 sized + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
			"TE folded":                sized + "Transfer-Encoding:\r\n chunked\r\n",
			"TE after bare LF":         sized + "X: y\nTransfer-Encoding: chunked\r\n",
			"TE after bare CR":         sized + "X: y\rTransfer-Encoding: chunked\r\n",
			"TE after NUL":             sized + "X: y\x00\r\nTransfer-Encoding: chunked\r\n",
			"TE hidden in Connection":  "Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n" + sized,
			"CL hidden in Connection":  "Connection: content-length\r\n" + sized,
			"two CL":                   "Content-Length: 5\r\n" + sized,
			"two CL, reversed":         sized + "Content-Length: 5\r\n",
			"CL list":                  fmt.Sprintf("Content-Length: 5, %d\r\n", len(inner)+5),
			"CL plus":                  fmt.Sprintf("Content-Length: +%d\r\n", len(inner)+5),
			"CL hexadecimal":           "Content-Length: 0x40\r\n",
			"CL space before colon":    fmt.Sprintf("Content-Length : %d\r\n", len(inner)+5),
			"folded header":            sized + "X: y\r\n\tz\r\n",
			"underscore":               fmt.Sprintf("Content_Length: %d\r\n", 5) + sized,
			"expect and no body":       sized + "Expect: 100-continue\r\n",
			"upgrade to h2c":           sized + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
			"websocket with a body":    sized + "Connection: Upgrade\r\nUpgrade: websocket\r\n",
			"proxied websocket, no WS": sized + "Connection: upgrade, close\r\nUpgrade: websocket\r\n",
		} {
			c, br := r.raw("POST /outer HTTP/1.1\r\nHost: x\r\n" + head + "\r\n0\r\n\r\n" + inner)
			first, _ := br.ReadString('\n')
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // for a second answer to come
			_, _ = io.Copy(io.Discard, br)
			for smuggled(seen) {
				t.Errorf("%s: the replica saw the inner request; the outer was answered %q", name, first)
			}
			c.Close()
		}
		for name, body := range map[string]string{
			"chunk size with LF only":  "3\nabc\r\n0\r\n\r\n",
			"chunk size with 0x":       "0x3\r\nabc\r\n0\r\n\r\n",
			"chunk size with sign":     "+3\r\nabc\r\n0\r\n\r\n",
			"chunk size too long":      "00000000000000000003\r\nabc\r\n0\r\n\r\n",
			"chunk data too long":      "3\r\nabcd\r\n0\r\n\r\n",
			"chunk data without CR":    "3\r\nabc\n0\r\n\r\n",
			"LF in chunk extension":    "3;a\nxx\r\nabc\r\n0\r\n\r\n",
			"CR in chunk extension":    "3;a\rxx\r\nabc\r\n0\r\n\r\n",
			"trailer that is a length": "0\r\nContent-Length: 50\r\n\r\n",
		} {
			c, br := r.raw("POST /outer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body + inner)
			first, _ := br.ReadString('\n')
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = io.Copy(io.Discard, br)
			if smuggled(seen) {
				t.Errorf("%s: the replica saw the inner request; the outer was answered %q", name, first)
			}
			c.Close()
		}
	})
}

// smuggled drains seen and reports whether the inner request is in it.
func smuggled(seen <-chan string) bool {
	found := false
	for {
		select {
		case path := <-seen:
			found = found || path == "/smuggled"
		default:
			return found
		}
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		r.serve(1, port, text("ok"))
		for head, want := range map[string]string{
			"GET / HTTP/1.1\r\n\r\n":                                                      "400",
			"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                "400",
			"GET / HTTP/1.1\r\nHost : a\r\n\r\n":                                          "400",
			"GET / HTTP/3.0\r\nHost: a\r\n\r\n":                                           "505",
			"nonsense\r\n\r\n":                                                            "400",
			"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n":                               "501",
			"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 64<<10) + "\r\n\r\n": "431",
		} {
			_, br := r.raw(head)
			line, err := br.ReadString('\n')
			if !strings.HasPrefix(line, "HTTP/1.1 "+want) {
				t.Errorf("%.60q: %q, %v; want %s", head, line, err, want)
			}
		}
		if status, body := r.get(r.client(), "/"); status != 200 || body != "ok" {
			t.Errorf("after all that: %d %q", status, body)
		}
	})
}

func TestSlowClientsAreCutOff(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, func(c *Config) {
			engine(c)
			c.Limits = upstream.Limits{Head: 100 * time.Millisecond, Idle: 100 * time.Millisecond, Stall: 100 * time.Millisecond}
		}), freePort(t)
		r.deploy(1, httpSpec(port))
		rep := r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/big" {
				w.Write(make([]byte, 64<<20))
				return
			}
			io.Copy(w, req.Body)
		}))
		for name, start := range map[string]string{
			"silent":         "",
			"half a head":    "GET / HTTP/1.1\r\nHo",
			"half a body":    "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
			"idle":           "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
			"does not read":  "GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
			"half a chunked": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		} {
			c, br := r.raw(start)
			if name == "does not read" {
				r.eventually("cut off", func() bool { n, _ := r.gw.InFlight(rep.id); return n == 0 })
			}
			if _, err := io.Copy(io.Discard, br); isTimeout(err) {
				t.Errorf("%s: the connection stays", name)
			}
			c.Close()
		}
		r.eventually("nothing in flight", func() bool { n, _ := r.gw.InFlight(rep.id); return n == 0 })
	})
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

func TestSlowReplicaIs504(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, func(c *Config) {
			engine(c)
			c.Limits.Response = 100 * time.Millisecond
		}), freePort(t)
		r.deploy(1, httpSpec(port))
		hang := make(chan bool)
		defer close(hang)
		rep := r.serve(1, port, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
		if status, body := r.get(r.client(), "/"); status != 504 || !strings.Contains(body, "shop/web") {
			t.Errorf("got %d %q", status, body)
		}
		r.eventually("nothing in flight", func() bool { n, _ := r.gw.InFlight(rep.id); return n == 0 })
	})
}

// TestOddReplicas has replicas answer in ways that servers do, and in ways that they should not.
func TestOddReplicas(t *testing.T) {
	big := strings.Repeat("x", 300_000)
	for _, c := range []struct {
		name, answer string
		status       int
		body         string // "cut": the response is cut off
	}{
		{"until close", "HTTP/1.1 200 OK\r\n\r\n" + big, 200, big},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Type: a/b\r\n\r\nhello", 200, "hello"},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n", 200, "abcde"},
		{"large head", "HTTP/1.1 200 OK\r\nX: " + big[:40_000] + "\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
		{"too large a head", "HTTP/1.1 200 OK\r\nX: " + big + "\r\nContent-Length: 2\r\n\r\nok", 502, ""},
		{"no HTTP", "SSH-2.0-x\r\n\r\n", 502, ""},
		{"nothing", "", 502, ""},
		{"half a head", "HTTP/1.1 200 OK\r\nConte", 502, ""},
		{"unasked upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502, ""},
		{"short body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", 200, "cut"},
		{"short chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", 200, "cut"},
		{"more than announced", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", 200, "ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, engine func(*Config)) {
				r, port := newRig(t, engine), freePort(t)
				r.deploy(1, httpSpec(port))
				r.serveRaw(1, port, func(conn net.Conn) {
					defer conn.Close()
					br := bufio.NewReader(conn)
					for {
						if _, err := http.ReadRequest(br); err != nil {
							return
						}
						io.WriteString(conn, c.answer)
						if c.name != "more than announced" {
							return
						}
					}
				})
				client := r.client()
				for range 2 {
					resp, err := client.Get("http://" + r.addr + "/")
					if err != nil && c.body == "cut" {
						continue // before its head was sent
					}
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					switch {
					case resp.StatusCode != c.status:
						t.Errorf("status %d, want %d", resp.StatusCode, c.status)
					case c.status != 200:
					case c.body == "cut":
						if err == nil {
							t.Errorf("the response looks whole: %q", body)
						}
					case string(body) != c.body || err != nil:
						t.Errorf("got %d bytes, %v", len(body), err)
					}
				}
			})
		})
	}
}
