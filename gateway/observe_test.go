package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestLoopsDoNotAllocatePerRequest counts the whole process: the client and the replica here allocate nothing either.
func TestLoopsDoNotAllocatePerRequest(t *testing.T) {
	r, port := newRig(t, func(c *Config) { c.Engine, c.Loops = "loops", 1 }), freePort(t)
	r.deploy(1, httpSpec(port))
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello")
	r.serveRaw(1, port, func(c net.Conn) {
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
	c, _ := r.raw("")
	request, buf := []byte("GET /a/b?c HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\n\r\n"), make([]byte, 4096)
	exchange := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < len(answer); {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	}
	for range 100 {
		exchange()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const n = 2000
	for range n {
		exchange()
	}
	runtime.ReadMemStats(&after)
	if got := float64(after.Mallocs-before.Mallocs) / n; got > 0.2 { // the rig's own goroutines allocate now and then
		t.Errorf("%.2f allocations per request", got)
	}
}

func TestMetricsTellRouteReleaseAndReplica(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		registry := prometheus.NewRegistry()
		r, port := newRig(t, func(c *Config) { engine(c); c.Metrics = registry }), freePort(t)
		r.deploy(3, httpSpec(port))
		rep := r.serve(3, port, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			io.Copy(io.Discard, req.Body)
			if req.Method == "POST" {
				w.WriteHeader(500)
			}
			io.WriteString(w, "12345")
		}))
		c := r.client()
		r.get(c, "/")
		resp, err := c.Post("http://"+r.addr+"/", "", strings.NewReader("123"))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		replicaLabels := `app="shop",%port="` + strconv.Itoa(int(port)) + `",release="3",replica="` + rep.id + `",service="web"`
		plain := strings.ReplaceAll(replicaLabels, "%", "")
		want := []string{
			"holdfast_gateway_requests_total{" + strings.ReplaceAll(replicaLabels, "%", `class="2",`) + "} 1",
			"holdfast_gateway_requests_total{" + strings.ReplaceAll(replicaLabels, "%", `class="5",`) + "} 1",
			"holdfast_gateway_request_seconds_count{" + plain + "} 2",
			"holdfast_gateway_sent_bytes_total{" + plain + "} 10",
			"holdfast_gateway_received_bytes_total{" + plain + "} 3",
			`holdfast_gateway_route_requests_total{app="shop",class="2",route="*/",service="web"} 1`,
			`holdfast_gateway_in_flight{app="shop",release="3",replica="` + rep.id + `",service="web"} 0`,
		}
		var page string
		r.eventually("counted", func() bool { // after the response's last byte
			page = scrape(t, registry)
			return strings.Contains(page, want[2])
		})
		for _, line := range want {
			if !strings.Contains(page, line+"\n") {
				t.Errorf("no %s in\n%s", line, page)
			}
		}
	})
}

func scrape(t *testing.T, registry *prometheus.Registry) string {
	t.Helper()
	rec := &page{header: http.Header{}}
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(rec, &http.Request{Method: "GET", Header: http.Header{}})
	return rec.String()
}

type page struct {
	bytes.Buffer
	header http.Header
}

func (p *page) Header() http.Header { return p.header }
func (p *page) WriteHeader(int)     {}

func TestAccessLog(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		var log bytes.Buffer
		out := &lockedWriter{w: &log}
		r, port := newRig(t, func(c *Config) { engine(c); c.AccessLog, c.AccessSample = out, 1 }), freePort(t)
		r.deploy(1, httpSpec(port))
		rep := r.serve(1, port, text("hello"))
		r.get(r.client(), "/a?b=c")
		var e map[string]any
		r.eventually("logged", func() bool {
			out.mu.Lock()
			defer out.mu.Unlock()
			return json.Unmarshal(log.Bytes(), &e) == nil
		})
		for key, want := range map[string]any{
			"method": "GET", "path": "/a?b=c", "status": 200.0, "out": 5.0, "replica": rep.id, "release": 1.0, "app": "shop",
			"service": "web", "host": r.addr,
		} {
			if e[key] != want {
				t.Errorf("%s: %v, want %v", key, e[key], want)
			}
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	_, err := New(Config{Engine: "warp"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"State", "NodeID", "Log", "warp"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}
