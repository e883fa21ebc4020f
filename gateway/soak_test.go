package gateway

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast/holdfast"
)

var soakFor = flag.Duration("soak", 2*time.Second, "how long the soak test runs on each data path")

// TestSoak has replicas come, go and die and routes change, while some clients behave and others do not. No request of a
// client that behaves may fail or get another's answer, and nothing may be left over at the end.
func TestSoak(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			files, routines := openFiles(t), runtime.NumGoroutine()
			t.Run("run", func(t *testing.T) { soak(t, engine) }) // its clean-up is over when it returns
			http.DefaultTransport.(*http.Transport).CloseIdleConnections()
			waitBelow(t, "goroutines", routines+3, runtime.NumGoroutine)
			waitBelow(t, "open files", files+3, func() int { return openFiles(t) })
		})
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(dir)
}

func waitBelow(t *testing.T, what string, limit int, count func() int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); count() > limit; {
		if time.Now().After(end) {
			t.Fatalf("%d %s are left, want at most %d", count(), what, limit)
		}
		time.Sleep(10 * time.Millisecond) // the poll of a condition
	}
}

func soak(t *testing.T, engine string) {
	r, port := newRig(t, func(c *Config) { c.Engine, c.Loops = engine, 4 }), freePort(t)
	r.deploy(1, httpSpec(port))
	h := http.HandlerFunc(soakServer)
	live := []*replica{r.serve(1, port, h), r.serve(1, port, h), r.serve(1, port, h)}
	stop := make(chan struct{})
	var ok atomic.Int64
	result := r.loadWith(8, stop, &ok, func(c *http.Client, nonce string, _ bool) error { return r.one(c, nonce, false) })
	var bad sync.WaitGroup
	for _, misbehave := range []func(*rig){hangUpEarly, sendGarbage, readHalf, pipelineAndLeave, chat} {
		bad.Go(func() {
			for !closed(stop) {
				misbehave(r)
			}
		})
	}
	for end, release := time.Now().Add(*soakFor), 2; time.Now().Before(end); release++ {
		before := ok.Load()
		r.eventually("requests go on", func() bool { return ok.Load() > before+20 })
		r.deploy(release, soakSpec(port, release))
		i := rand.IntN(len(live))
		old := live[i]
		live[i] = r.serve(release, port, h)
		if rand.IntN(2) == 0 {
			old.retire()
			continue
		}
		old.stop() // dies: noticed by the gateway first, by the agent later
		old.status(holdfast.Failed, false)
		old.remove()
	}
	close(stop)
	bad.Wait()
	if failed := result(); len(failed) > 0 {
		t.Errorf("%d requests answered, %d failed, first: %v", ok.Load(), len(failed), failed[:min(3, len(failed))])
	}
	t.Logf("%d requests", ok.Load())
	r.eventually("nothing is in flight", func() bool {
		for _, ep := range r.gw.set.Endpoints() {
			if n, _ := r.gw.InFlight(ep.Replica.ID); n != 0 {
				return false
			}
		}
		return true
	})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// soakSpec has a second route that comes and goes.
func soakSpec(port uint16, release int) holdfast.Spec {
	spec := httpSpec(port)
	if release%2 == 0 {
		spec.Routes = append(spec.Routes, holdfast.Route{PathPrefix: "/extra", Port: port})
	}
	return spec
}

func soakServer(w http.ResponseWriter, req *http.Request) {
	switch req.URL.Path {
	case "/chat":
		echoSocket(w, req)
	case "/big":
		w.Write(make([]byte, 4<<20))
	default:
		echoNonce(w, req)
	}
}

func (r *rig) dial() (net.Conn, bool) {
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		return nil, false
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c, true
}

func hangUpEarly(r *rig) {
	c, ok := r.dial()
	if !ok {
		return
	}
	defer c.Close()
	request := "POST /?n=x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + strings.Repeat("b", 100)
	io.WriteString(c, request[:rand.IntN(len(request))])
}

func sendGarbage(r *rig) {
	c, ok := r.dial()
	if !ok {
		return
	}
	defer c.Close()
	junk := make([]byte, 500)
	for i := range junk {
		junk[i] = byte(rand.Uint32())
	}
	io.WriteString(c, "GET /?n=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	c.Write(junk)
	io.WriteString(c, "\r\n\r\n")
	io.Copy(io.Discard, c)
}

func readHalf(r *rig) {
	c, ok := r.dial()
	if !ok {
		return
	}
	defer c.Close()
	io.WriteString(c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
	io.CopyN(io.Discard, c, int64(rand.IntN(4<<20)))
}

func pipelineAndLeave(r *rig) {
	c, ok := r.dial()
	if !ok {
		return
	}
	defer c.Close()
	n := 1 + rand.IntN(10)
	io.WriteString(c, strings.Repeat("GET /extra?n=7 HTTP/1.1\r\nHost: x\r\n\r\n", n))
	br := bufio.NewReader(c)
	for range rand.IntN(n) {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return
		}
		io.Copy(io.Discard, resp.Body)
	}
}

func chat(r *rig) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+r.addr+"/chat", nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	for i := range rand.IntN(20) {
		want := fmt.Sprint("message ", i)
		if c.Write(ctx, websocket.MessageText, []byte(want)) != nil {
			return
		}
		_, got, err := c.Read(ctx)
		if err != nil {
			return // its replica went
		}
		if string(got) != want {
			r.t.Errorf("chat: got %q, want %q", got, want)
		}
	}
}
