package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
)

// rig is a gateway on a store in memory, with replicas in the test's process. Replicas have loopback addresses of their
// own and share ports, as containers do.
type rig struct {
	t     testing.TB
	ctx   context.Context
	store *store.Store
	gw    *Gateway
	log   *bytes.Buffer
	addr  string // of the routes' listener
	end   func() // of the gateway
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	st, err := store.Open(ctx, mem.New())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, ctx: ctx, store: st, log: &bytes.Buffer{}}
	r.run(change)
	t.Cleanup(func() { r.end() })
	return r
}

// run starts a gateway on the rig's store.
func (r *rig) run(change func(*Config)) {
	r.t.Helper()
	cfg := Config{
		State: r.store, NodeID: "n1", Listen: []string{"127.0.0.1:0"}, Grace: 100 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: r.log}, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.gw, err = New(cfg); err != nil {
		r.t.Fatal(err)
	}
	if addrs := r.gw.HTTPAddrs(); len(addrs) > 0 {
		r.addr = addrs[0].String()
	}
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan error, 1)
	go func() { done <- r.gw.Run(ctx) }()
	r.end = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("run: %v", err)
		}
	}
}

// restart ends the gateway and starts another on the same store.
func (r *rig) restart(change func(*Config)) {
	r.t.Helper()
	r.end()
	r.run(change)
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (r *rig) update(change func(*store.Snapshot, *store.Tx)) {
	r.t.Helper()
	err := r.store.Update(r.ctx, func(s *store.Snapshot, tx *store.Tx) error {
		change(s, tx)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// deploy makes release of service web of app shop the wanted one.
func (r *rig) deploy(release int, spec holdfast.Spec) {
	r.t.Helper()
	spec.Name = "web"
	if spec.Mode == "" {
		spec.Mode, spec.Replicas = holdfast.Replicated, 1
	}
	spec.Networks = []holdfast.Attachment{{Network: "default"}}
	r.update(func(_ *store.Snapshot, tx *store.Tx) {
		tx.Put(&holdfast.Release{App: "shop", Service: "web", Number: release, Spec: spec})
		tx.Put(&holdfast.Service{App: "shop", Name: "web", Release: release, Last: release})
	})
}

var replicaNumber atomic.Int32

// replica is one replica of shop/web.
type replica struct {
	rig  *rig
	id   string
	ip   netip.Addr
	stop func() // ends its server at once
}

func nextIP() netip.Addr {
	n := replicaNumber.Add(1)
	return netip.AddrFrom4([4]byte{127, 66, byte(n >> 8), byte(n)})
}

// add adds a replica that is ready; its servers must listen already.
func (r *rig) add(release int, ip netip.Addr, stop func()) *replica {
	r.t.Helper()
	n := replicaNumber.Add(1)
	rep := &replica{rig: r, id: fmt.Sprintf("shop-web-%d", n), ip: ip, stop: stop}
	r.update(func(_ *store.Snapshot, tx *store.Tx) {
		tx.Put(&holdfast.Replica{
			ID: rep.id, App: "shop", Service: "web", Release: release, Slot: int(n), Node: "n1", Desired: holdfast.Run,
			Addresses: map[string]netip.Addr{"default": ip},
		})
		tx.Put(&holdfast.Status{ID: rep.id, Node: "n1", State: holdfast.Running, Ready: true})
	})
	r.routed(rep.id, true)
	return rep
}

// routed waits until the gateway routes, or does not route, to a replica.
func (r *rig) routed(id string, want bool) {
	r.t.Helper()
	r.eventually("routed "+id, func() bool {
		rep := r.gw.set.Replica(id)
		return (rep != nil && rep.Ready()) == want
	})
}

// eventually waits for a condition that something else brings about.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			r.t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(time.Millisecond) // the poll of a condition, not a wait for time to pass
	}
}

func (rep *replica) status(state holdfast.State, ready bool) {
	rep.rig.t.Helper()
	rep.rig.update(func(_ *store.Snapshot, tx *store.Tx) {
		tx.Put(&holdfast.Status{ID: rep.id, Node: "n1", State: state, Ready: ready})
	})
}

// drain asks for the replica's end, as control and agent do, and returns when the gateway has been told.
func (rep *replica) drain() {
	rep.rig.t.Helper()
	rep.rig.update(func(s *store.Snapshot, tx *store.Tx) {
		was, _ := s.Replicas.Get(rep.id)
		now := *was
		now.Desired = holdfast.Stop
		tx.Put(&now)
	})
	rep.status(holdfast.Draining, true)
}

// drained waits for the gateway's record that nothing is in flight.
func (rep *replica) drained() {
	rep.rig.t.Helper()
	rep.rig.eventually("drained "+rep.id, func() bool { return rep.record() == 0 })
}

// record returns what the gateway's drain record says; -1 when there is none.
func (rep *replica) record() int {
	d, ok := rep.rig.store.Snapshot().Drains.Get(rep.id + "/n1")
	if !ok {
		return -1
	}
	return d.InFlight
}

// retire is a whole shutdown in the right order.
func (rep *replica) retire() {
	rep.rig.t.Helper()
	rep.drain()
	rep.drained()
	rep.stop()
	rep.status(holdfast.Stopped, false)
	rep.remove()
}

func (rep *replica) remove() {
	rep.rig.t.Helper()
	rep.rig.update(func(_ *store.Snapshot, tx *store.Tx) {
		tx.Delete(&holdfast.Replica{ID: rep.id})
		tx.Delete(&holdfast.Status{ID: rep.id})
	})
}

// freePort returns a port that is free on all loopback addresses, most likely.
func freePort(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// serve starts an HTTP server on port of a new address and adds a replica for it.
func (r *rig) serve(release int, port uint16, h http.Handler) *replica {
	r.t.Helper()
	ip := nextIP()
	return r.add(release, ip, serveHTTP(r.t, netip.AddrPortFrom(ip, port), h))
}

func serveHTTP(t testing.TB, addr netip.AddrPort, h http.Handler) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go srv.Serve(l)
	stop = sync.OnceFunc(func() { srv.Close() })
	t.Cleanup(stop)
	return stop
}

// serveRaw accepts connections on port of a new address and gives them to h, and adds a replica for it.
func (r *rig) serveRaw(release int, port uint16, h func(net.Conn)) *replica {
	r.t.Helper()
	ip := nextIP()
	l, err := net.Listen("tcp", netip.AddrPortFrom(ip, port).String())
	if err != nil {
		r.t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			go h(c)
		}
	}()
	stop := sync.OnceFunc(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	r.t.Cleanup(stop)
	return r.add(release, ip, stop)
}

func httpSpec(port uint16) holdfast.Spec {
	return holdfast.Spec{Routes: []holdfast.Route{{Port: port}}}
}

// client returns an HTTP client with connections of its own.
func (r *rig) client() *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// get returns the status and body of a GET of path.
func (r *rig) get(c *http.Client, path string) (int, string) {
	r.t.Helper()
	resp, err := c.Get("http://" + r.addr + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// raw sends data on a connection of its own and returns it with a reader.
func (r *rig) raw(data string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, data); err != nil {
		r.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// engines are the data paths that every test runs on.
var engines = []string{"std", "loops"}

// onEach runs test on every data path.
func onEach(t *testing.T, test func(t *testing.T, engine func(*Config))) {
	for _, e := range engines {
		t.Run(e, func(t *testing.T) {
			test(t, func(c *Config) { c.Engine = e })
		})
	}
}

func text(s string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) })
}
