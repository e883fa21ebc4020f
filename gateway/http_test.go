package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
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

// load sends GETs, and POSTs now and then, from n clients until stop, counts those answered with 200, and returns what
// went wrong.
func (r *rig) load(n int, stop <-chan struct{}, ok *atomic.Int64) func() []string {
	return r.loadWith(n, stop, ok, r.one)
}

func (r *rig) loadWith(
	n int, stop <-chan struct{}, ok *atomic.Int64, one func(*http.Client, string, bool) error,
) func() []string {
	var mu sync.Mutex
	var bad []string
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			c := r.client()
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := one(c, fmt.Sprintf("%d.%d", i, k), k%10 == 9); err != nil {
					mu.Lock()
					bad = append(bad, err.Error())
					mu.Unlock()
					continue
				}
				ok.Add(1)
			}
		})
	}
	return func() []string { all.Wait(); return bad }
}

func (r *rig) one(c *http.Client, nonce string, post bool) error {
	var resp *http.Response
	var err error
	if post {
		resp, err = c.Post("http://"+r.addr+"/?n="+nonce, "text/plain", strings.NewReader(nonce))
	} else {
		resp, err = c.Get("http://" + r.addr + "/?n=" + nonce)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 || string(body) != nonce {
		return fmt.Errorf("%s: %d %q", nonce, resp.StatusCode, body)
	}
	return nil
}

// echoNonce answers with the request's nonce, after up to a few milliseconds.
func echoNonce(w http.ResponseWriter, req *http.Request) {
	io.Copy(io.Discard, req.Body)
	time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond) // the server's work
	io.WriteString(w, req.FormValue("n"))
}

func TestRollingReplacementDropsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		h := http.HandlerFunc(echoNonce)
		live := []*replica{r.serve(1, port, h), r.serve(1, port, h), r.serve(1, port, h)}
		stop := make(chan struct{})
		var ok atomic.Int64
		result := r.load(16, stop, &ok)
		for release := 2; release < 5; release++ {
			r.deploy(release, httpSpec(port))
			for i, old := range live {
				before := ok.Load()
				r.eventually("under load", func() bool { return ok.Load() > before+30 })
				live[i] = r.serve(release, port, h)
				old.retire()
			}
		}
		close(stop)
		if bad := result(); len(bad) > 0 {
			t.Errorf("%d requests, %d failed, first: %v", ok.Load(), len(bad), bad[:min(3, len(bad))])
		}
		r.eventually("drain records removed", func() bool { return r.store.Snapshot().Drains.Len() == 0 })
	})
}

func TestKilledReplicasGetsAreRetried(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		var reached atomic.Int32
		hang := make(chan struct{})
		defer close(hang)
		victim := r.serve(1, port, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			reached.Add(1)
			<-hang
		}))
		results := make(chan string, 20)
		for range cap(results) {
			go func() {
				resp, err := r.client().Get("http://" + r.addr + "/")
				if err != nil {
					results <- err.Error()
					return
				}
				body, _ := io.ReadAll(resp.Body)
				results <- string(body)
			}()
		}
		r.eventually("all in flight to the victim", func() bool { return reached.Load() == int32(cap(results)) })
		r.serve(1, port, text("other"))
		victim.stop() // as kill -9: connections break, new ones are refused, and nobody knows yet
		for range cap(results) {
			if got := <-results; got != "other" {
				t.Errorf("got %q", got)
			}
		}
	})
}

func TestSentPostIsNotRetried(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		var seen atomic.Int32
		breakOff := func(c net.Conn) {
			c.Read(make([]byte, 4096))
			seen.Add(1)
			c.Close()
		}
		r.serveRaw(1, port, breakOff)
		r.serveRaw(1, port, breakOff)
		resp, err := r.client().Post("http://"+r.addr+"/", "text/plain", strings.NewReader("once"))
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 502 || seen.Load() != 1 {
			t.Errorf("status %d, sent %d times; want 502, once", resp.StatusCode, seen.Load())
		}
		status, _ := r.get(r.client(), "/")
		if status != 502 || seen.Load() < 3 {
			t.Errorf("GET: status %d, sent %d times; want 502 after several", status, seen.Load()-1)
		}
	})
}

func TestPutWithBodyIsRetried(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		var tries atomic.Int32
		h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			if tries.Add(1) == 1 {
				panic(http.ErrAbortHandler)
			}
			w.Write(body)
		})
		r.serve(1, port, h)
		r.serve(1, port, h)
		want := strings.Repeat("x", 50_000)
		req, _ := http.NewRequest("PUT", "http://"+r.addr+"/", strings.NewReader(want))
		resp, err := r.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != want || tries.Load() != 2 {
			t.Errorf("%d tries, got %d bytes, status %d", tries.Load(), len(body), resp.StatusCode)
		}
	})
}

func TestRequestsAreHeldUntilAReplicaIsReady(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		r.eventually("routed", func() bool { return len(r.gw.Table().Routes) == 1 })
		results := make(chan error, 20)
		for i := range cap(results) {
			go func() { results <- r.one(r.client(), fmt.Sprint(i), i%2 == 0) }()
		}
		backend := r.gw.set.View().Backends[0]
		r.eventually("all held", func() bool { return backend.Waiting() == cap(results) })
		r.serve(1, port, http.HandlerFunc(echoNonce))
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestHoldingIsBounded(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r := newRig(t, func(c *Config) {
			engine(c)
			c.Limits.HoldFor = 50 * time.Millisecond
			c.Hold.HoldMax = 2
		})
		r.deploy(1, httpSpec(80))
		r.eventually("routed", func() bool { return len(r.gw.Table().Routes) == 1 })
		statuses := make(chan *http.Response, 6)
		for range cap(statuses) {
			go func() {
				resp, err := r.client().Get("http://" + r.addr + "/")
				if err != nil {
					t.Error(err)
				}
				statuses <- resp
			}()
		}
		for range cap(statuses) {
			if resp := <-statuses; resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
				t.Errorf("got %+v", resp)
			}
		}
		backend := r.gw.set.View().Backends[0]
		if held := backend.Held.Load(); held < 2 || backend.Refused.Load() != 6 || backend.Waiting() != 0 {
			t.Errorf("held %d, refused %d, waiting %d", held, backend.Refused.Load(), backend.Waiting())
		}
	})
}

func TestServiceScaledToZeroIsNotWaitedFor(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r := newRig(t, engine)
		r.deploy(1, httpSpec(80))
		zero := 0
		r.update(func(_ *store.Snapshot, tx *store.Tx) {
			tx.Put(&holdfast.Service{App: "shop", Name: "web", Release: 1, Scale: &zero})
		})
		r.eventually("routed", func() bool {
			t := r.gw.Table()
			return len(t.Routes) == 1 && t.Backends[0].Idle != ""
		})
		if status, body := r.get(r.client(), "/"); status != 503 || !strings.Contains(body, "scaled to 0") {
			t.Errorf("got %d %q", status, body)
		}
	})
}

func TestRefusingReplicaIsPassedOver(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		r.add(1, nextIP(), nil) // nobody listens there
		r.serve(1, port, http.HandlerFunc(echoNonce))
		for i := range 20 {
			if err := r.one(r.client(), fmt.Sprint(i), i%2 == 0); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestDrainWaitsForWhatIsInFlight(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		reached, finish := make(chan bool), make(chan bool)
		old := r.serve(1, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			reached <- true
			<-finish
			io.WriteString(w, "old")
		}))
		c := r.client()
		result := make(chan string)
		go func() {
			resp, err := c.Get("http://" + r.addr + "/")
			if err != nil {
				result <- err.Error()
				return
			}
			body, _ := io.ReadAll(resp.Body)
			result <- string(body)
		}()
		<-reached
		r.serve(1, port, text("new"))
		old.drain()
		r.eventually("a record of one in flight", func() bool { return old.record() == 1 })
		if n, unrouted := r.gw.InFlight(old.id); n != 1 || !unrouted {
			t.Errorf("InFlight = %d, %v", n, unrouted)
		}
		for range 10 {
			if _, body := r.get(r.client(), "/"); body != "new" {
				t.Fatalf("a draining replica answered %q", body)
			}
		}
		finish <- true
		if got := <-result; got != "old" {
			t.Errorf("got %q", got)
		}
		old.drained()
		if _, body := r.get(c, "/"); body != "new" {
			t.Errorf("kept connection: got %q", body)
		}
	})
}

func TestGoneReplicaSeversWhatIsInFlight(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		reached := make(chan bool)
		hang := make(chan bool)
		defer close(hang)
		h := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			reached <- true
			<-hang
		})
		rep := r.serve(1, port, h)
		status := make(chan int)
		go func() {
			resp, err := r.client().Post("http://"+r.addr+"/", "", strings.NewReader("x"))
			if err != nil {
				t.Error(err)
				status <- 0
				return
			}
			status <- resp.StatusCode
		}()
		<-reached
		rep.status(holdfast.Failed, false) // its packets go nowhere: no reset comes
		if got := <-status; got != 502 {
			t.Errorf("got %d", got)
		}
		r.eventually("nothing in flight", func() bool {
			n, unrouted := r.gw.InFlight(rep.id)
			return n == 0 && unrouted
		})
	})
}

func TestClientThatGoesAwayFreesTheReplica(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		reached, left := make(chan bool, 1), make(chan bool)
		rep := r.serve(1, port, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
			reached <- true
			<-req.Context().Done()
			close(left)
		}))
		ctx, cancel := context.WithCancel(context.Background())
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr+"/", nil)
		go func() {
			<-reached
			cancel()
		}()
		if _, err := r.client().Do(req); err == nil {
			t.Fatal("no error")
		}
		<-left
		r.eventually("nothing in flight", func() bool { n, _ := r.gw.InFlight(rep.id); return n == 0 })
	})
}
