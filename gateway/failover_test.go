package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

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

// TestNewGatewayTakesOverTheDrains kills a gateway with a request in flight to a draining replica: its connections are
// gone with it, and the next one on the node says so; a record of a replica that is no more is removed.
func TestNewGatewayTakesOverTheDrains(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		reached, hang := make(chan bool), make(chan bool)
		defer close(hang)
		rep := r.serve(1, port, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			reached <- true
			<-hang
		}))
		r.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		<-reached
		rep.drain()
		r.eventually("recorded", func() bool { return rep.record() == 1 })
		r.update(func(_ *store.Snapshot, tx *store.Tx) {
			tx.Put(&holdfast.Drain{Replica: "long-gone", Node: "n1", InFlight: 1})
			tx.Put(&holdfast.Drain{Replica: "long-gone", Node: "n2", InFlight: 1})
		})
		r.restart(engine)
		rep.drained()
		r.eventually("the stale record is removed", func() bool {
			_, mine := r.store.Snapshot().Drains.Get("long-gone/n1")
			_, other := r.store.Snapshot().Drains.Get("long-gone/n2")
			return !mine && other // another gateway's record is not ours to touch
		})
	})
}
