package gateway

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
)

func TestRequestIsForwarded(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, holdfast.Spec{Routes: []holdfast.Route{{Host: "a.test", PathPrefix: "/api", Port: port, Strip: true}}})
		var got *http.Request
		var body []byte
		r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			got = req
			body, _ = io.ReadAll(req.Body)
			w.Header().Set("X-Own", "1")
			w.Header().Add("Connection", "X-Hop")
			w.Header().Set("X-Hop", "secret")
			w.WriteHeader(201)
			io.WriteString(w, "made")
		}))
		req, _ := http.NewRequest("PUT", "http://"+r.addr+"/api/x%2Fy?q=1&q=2", strings.NewReader("hello"))
		req.Host = "A.test:99"
		req.Header.Set("X-Forwarded-For", "6.6.6.6")
		req.Header.Set("X-Real-Ip", "6.6.6.6")
		req.Header.Set("Forwarded", "for=6.6.6.6")
		req.Header["X_Forwarded_For"] = []string{"6.6.6.6"}
		req.Header.Set("Connection", "X-Drop")
		req.Header.Set("X-Drop", "1")
		req.Header.Set("X-Keep", "1")
		req.Header.Set("Te", "trailers")
		resp, err := r.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 201 || string(answer) != "made" || resp.Header.Get("X-Own") != "1" {
			t.Errorf("answer: %d %q %v", resp.StatusCode, answer, resp.Header)
		}
		if resp.Header.Get("X-Hop") != "" {
			t.Error("a hop-by-hop header of the replica came through")
		}
		if got.RequestURI != "/x%2Fy?q=1&q=2" || string(body) != "hello" || got.Host != "A.test:99" || got.Method != "PUT" {
			t.Errorf("replica saw %s %s host %s body %q", got.Method, got.RequestURI, got.Host, body)
		}
		for name, want := range map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "A.test:99", "X-Real-Ip": "",
			"X_forwarded_for": "", "X_Forwarded_For": "",
			"Forwarded": `for=127.0.0.1;host="A.test:99";proto=http`, "X-Drop": "", "X-Keep": "1",
		} {
			if have := strings.Join(got.Header[name], "|"); have != want {
				t.Errorf("replica saw %s: %q, want %q", name, have, want)
			}
		}
	})
}

func TestUnknownHostIs404(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r := newRig(t, engine)
		r.deploy(1, holdfast.Spec{Routes: []holdfast.Route{{Host: "a.test", Port: 80}}})
		if status, body := r.get(r.client(), "/"); status != 404 || !strings.Contains(body, "route ls") {
			t.Errorf("got %d %q", status, body)
		}
	})
}

func TestBodiesStreamBothWays(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			http.NewResponseController(w).EnableFullDuplex()
			if req.URL.Path == "/length" {
				w.Header().Set("Content-Length", fmt.Sprint(req.ContentLength))
			}
			io.Copy(w, req.Body)
		}))
		data := make([]byte, 9<<20)
		for i := range data {
			data[i] = byte(i * i >> 7)
		}
		for _, path := range []string{"/length", "/chunked"} {
			var body io.Reader = bytes.NewReader(data)
			if path == "/chunked" {
				body = struct{ io.Reader }{body}
			}
			resp, err := r.client().Post("http://"+r.addr+path, "", body)
			if err != nil {
				t.Fatal(err)
			}
			h := sha256.New()
			n, err := io.Copy(h, resp.Body)
			if want := sha256.Sum256(data); err != nil || !bytes.Equal(h.Sum(nil), want[:]) {
				t.Errorf("%s: %d bytes came back, %v", path, n, err)
			}
		}
	})
}

func TestResponseStreamsAsItComes(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		step := make(chan bool)
		r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			for i := range 3 {
				fmt.Fprintf(w, "part %d\n", i)
				w.(http.Flusher).Flush()
				<-step
			}
			w.Header().Set("X-Sum", "42")
		}))
		resp, err := r.client().Get("http://" + r.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		for i := range 3 {
			n, err := io.ReadAtLeast(resp.Body, buf, 7)
			if want := fmt.Sprintf("part %d\n", i); err != nil || string(buf[:n]) != want {
				t.Fatalf("got %q, %v; want %q", buf[:n], err, want)
			}
			step <- true
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		if resp.Trailer.Get("X-Sum") != "42" {
			t.Errorf("trailer: %v", resp.Trailer)
		}
	})
}

func TestHeadAndBodylessAnswers(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			switch req.URL.Path {
			case "/204":
				w.WriteHeader(204)
			case "/304":
				w.Header().Set("Etag", `"x"`)
				w.WriteHeader(304)
			default:
				w.Header().Set("Content-Length", "1000")
				if req.Method != "HEAD" {
					w.Write(make([]byte, 1000))
				}
			}
		}))
		c := r.client()
		for range 3 { // on one connection: a wrong length would show in the next answer
			resp, err := c.Head("http://" + r.addr + "/")
			if err != nil {
				t.Fatal(err)
			}
			if resp.ContentLength != 1000 || resp.StatusCode != 200 {
				t.Errorf("HEAD: %d, length %d", resp.StatusCode, resp.ContentLength)
			}
			for path, want := range map[string]int{"/204": 204, "/304": 304, "/": 200} {
				if status, body := r.get(c, path); status != want || (want != 200) != (body == "") {
					t.Errorf("%s: %d with %d bytes", path, status, len(body))
				}
			}
		}
	})
}

func TestExpectContinue(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/no" {
				w.WriteHeader(413)
				return
			}
			io.Copy(w, req.Body)
		}))
		c, br := r.raw("POST /yes HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
			t.Fatalf("got %q, %v", line, err)
		}
		br.ReadString('\n')
		io.WriteString(c, "hello")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || string(body) != "hello" {
			t.Errorf("got %d %q", resp.StatusCode, body)
		}
		_, br = r.raw("POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 413") {
			t.Errorf("got %q, %v", line, err)
		}
	})
}

func TestPipelinedRequests(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			fmt.Fprintf(w, "%s %s", req.URL.Path, body)
		}))
		_, br := r.raw("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" +
			"POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" +
			"POST /3 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET /4 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		for _, want := range []string{"/1 ", "/2 abc", "/3 hi", "/4 "} {
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("%s: %v", want, err)
			}
			if body, _ := io.ReadAll(resp.Body); string(body) != want {
				t.Errorf("got %q, want %q", body, want)
			}
		}
		if _, err := br.ReadByte(); err != io.EOF {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestHTTP10(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			io.WriteString(w, "one")
			w.(http.Flusher).Flush()
			io.WriteString(w, "two")
		}))
		_, br := r.raw("GET / HTTP/1.0\r\nHost: x\r\n\r\n")
		all, err := io.ReadAll(br)
		if err != nil || !strings.HasSuffix(string(all), "\r\n\r\nonetwo") {
			t.Errorf("got %q, %v: want the plain body, ended by the close", all, err)
		}
	})
}

// TestAnswerBeforeTheBodyIsSent has a replica refuse an upload without reading it.
func TestAnswerBeforeTheBodyIsSent(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		rep := r.serveRaw(1, port, func(c net.Conn) {
			defer c.Close()
			br := bufio.NewReader(c)
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
			br.Peek(1)
		})
		for _, size := range []int{100_000, 20 << 20} {
			_, br := r.raw(fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nstart", size))
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(body) != "big" || err != nil {
				t.Errorf("%d bytes: got %d %q, %v", size, resp.StatusCode, body, err)
			}
			resp, err = r.client().Post("http://"+r.addr+"/", "", bytes.NewReader(make([]byte, size)))
			if err != nil {
				continue // a client may fail on writing before it looks for an answer
			}
			// net/http's Transport may take the failure to write for more important than the answer.
			if std := r.gw.loops == nil; resp.StatusCode != 413 && !(std && resp.StatusCode == 502) {
				t.Errorf("%d bytes at once: got %d", size, resp.StatusCode)
			}
		}
		r.eventually("nothing in flight", func() bool { n, _ := r.gw.InFlight(rep.id); return n == 0 })
	})
}
