package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/gateway/relay"
)

func portSpec(protocol string, published, target uint16) holdfast.Spec {
	return holdfast.Spec{Ports: []holdfast.Port{{
		Protocol: protocol, Published: published, Target: target, Mode: "ingress", HostIP: "127.0.0.1",
	}}}
}

// waitPort waits until the gateway has opened its only published port.
func (r *rig) waitPort() {
	r.t.Helper()
	r.eventually("port open", func() bool { p := r.gw.Ports(); return len(p) == 1 && p[0].Error == "" })
}

func TestTCPIsRelayedBothWaysWithHalfClose(t *testing.T) {
	r, published, target := newRig(t, nil), freePort(t), freePort(t)
	r.deploy(1, portSpec("tcp", published, target))
	rep := r.serveRaw(1, target, func(c net.Conn) {
		defer c.Close()
		data, _ := io.ReadAll(c) // until the client's half-close
		sum := sha256.Sum256(data)
		c.Write(sum[:])
		c.Write(data)
	})
	r.waitPort()
	c, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(published)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	got, err := io.ReadAll(c)
	sum := sha256.Sum256(data)
	if err != nil || !bytes.Equal(got, append(sum[:], data...)) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	r.eventually("nothing in flight", func() bool { n, _ := r.gw.InFlight(rep.id); return n == 0 })
}

func TestTCPConnectionIsHeldThenMovedOn(t *testing.T) {
	r, published, target := newRig(t, nil), freePort(t), freePort(t)
	r.deploy(1, portSpec("tcp", published, target))
	r.waitPort()
	c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), published).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "hello\n")
	backend := r.gw.set.View().Backends[0]
	r.eventually("held", func() bool { return backend.Waiting() == 1 })
	r.add(1, nextIP(), nil) // refuses: the connection goes to the next
	rep := r.serveRaw(1, target, func(c net.Conn) { io.Copy(c, c) })
	buf := make([]byte, 6)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "hello\n" {
		t.Fatalf("got %q, %v", buf, err)
	}
	rep.drain()
	r.eventually("in flight recorded", func() bool { return rep.record() == 1 })
	io.WriteString(c, "again\n")
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "again\n" {
		t.Fatalf("while draining: got %q, %v", buf, err)
	}
	rep.status(holdfast.Stopped, false)
	if _, err := c.Read(buf); err == nil {
		t.Error("the connection to a stopped replica goes on")
	}
	r.eventually("nothing in flight", func() bool { return rep.record() == 0 })
}

func TestTakenPortIsReportedAndOpenedLater(t *testing.T) {
	r, published, target := newRig(t, nil), freePort(t), freePort(t)
	l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), published).String())
	if err != nil {
		t.Fatal(err)
	}
	r.deploy(1, portSpec("tcp", published, target))
	r.eventually("reported", func() bool {
		p := r.gw.Ports()
		return len(p) == 1 && strings.Contains(p[0].Error, "taken by another program")
	})
	l.Close()
	r.waitPort()
	r.deploy(2, holdfast.Spec{})
	r.eventually("closed", func() bool {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

func TestPublishedHTTPPortBalancesRequests(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, published, target := newRig(t, engine), freePort(t), freePort(t)
		spec := portSpec("tcp", published, target)
		spec.Ports[0].AppProtocol = "http"
		r.deploy(1, spec)
		old := r.serve(1, target, http.HandlerFunc(echoNonce))
		r.waitPort()
		r.addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), published).String()
		c := r.client()
		if err := r.one(c, "1", false); err != nil {
			t.Fatal(err)
		}
		r.serve(1, target, http.HandlerFunc(echoNonce))
		old.retire()
		if err := r.one(c, "2", true); err != nil { // the client's connection stays
			t.Error(err)
		}
	})
}

func TestUDPFlowsFollowTheReplicas(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.UDP = relay.UDPOptions{Idle: 200 * time.Millisecond, Linger: 50 * time.Millisecond}
	})
	published, target := freePort(t), freePort(t)
	r.deploy(1, portSpec("udp", published, target))
	first := r.serveUDP(target, "first")
	r.waitPort()
	c, err := net.Dial("udp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), published).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if got := ask(t, c); got != "first" {
			t.Fatalf("got %q", got)
		}
	}
	if n, _ := r.gw.InFlight(first.id); n != 1 {
		t.Errorf("in flight: %d, want the one flow", n)
	}
	second := r.serveUDP(target, "second")
	first.drain()
	r.routed(first.id, false)
	if got := ask(t, c); got != "second" {
		t.Errorf("after the drain: got %q", got)
	}
	first.drained()
	r.eventually("the idle flow expires", func() bool { n, _ := r.gw.InFlight(second.id); return n == 0 })
	if got := ask(t, c); got != "second" {
		t.Errorf("after expiry: got %q", got)
	}
}

func ask(t *testing.T, c net.Conn) string {
	t.Helper()
	buf := make([]byte, 100)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("who")); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// serveUDP answers each datagram with name, on port of a new address, and adds a replica for it.
func (r *rig) serveUDP(port uint16, name string) *replica {
	r.t.Helper()
	ip := nextIP()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, port)))
	if err != nil {
		r.t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 2000)
		for {
			_, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort([]byte(name), from)
		}
	}()
	r.t.Cleanup(func() { conn.Close() })
	return r.add(1, ip, func() { conn.Close() })
}

func TestWebSocketIsRelayedAndSeveredAtTheEnd(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		rep := r.serve(1, port, http.HandlerFunc(echoSocket))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c, _, err := websocket.Dial(ctx, "ws://"+r.addr+"/chat", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		exchange := func(what string) {
			t.Helper()
			want := []byte(strings.Repeat(what, 50_000))
			if err := c.Write(ctx, websocket.MessageText, want); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(ctx); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: got %d bytes, %v", what, len(got), err)
			}
		}
		exchange("a")
		rep.drain()
		r.eventually("counted in flight", func() bool { return rep.record() == 1 })
		exchange("draining")
		rep.status(holdfast.Stopped, false)
		if _, _, err := c.Read(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("the socket of a stopped replica goes on: %v", err)
		}
		r.eventually("nothing in flight", func() bool { return rep.record() == 0 })
	})
}

func TestWebSocketClosedByEitherSideEndsTheFlight(t *testing.T) {
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		rep := r.serve(1, port, http.HandlerFunc(echoSocket))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for range 2 {
			c, _, err := websocket.Dial(ctx, "ws://"+r.addr+"/chat", nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		r.eventually("nothing in flight", func() bool { n, _ := r.gw.InFlight(rep.id); return n == 0 })
	})
}

func echoSocket(w http.ResponseWriter, req *http.Request) {
	c, err := websocket.Accept(w, req, nil)
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for {
		kind, data, err := c.Read(req.Context())
		if err != nil {
			return
		}
		if err := c.Write(req.Context(), kind, data); err != nil {
			return
		}
	}
}

// TestLastWordsOfAReplicaArrive has a replica say much, close and end, before its client has read any of it.
func TestLastWordsOfAReplicaArrive(t *testing.T) {
	words := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // fits into the sockets' buffers on the way
	t.Run("tcp", func(t *testing.T) {
		r, published, target := newRig(t, nil), freePort(t), freePort(t)
		r.deploy(1, portSpec("tcp", published, target))
		said := make(chan bool, 1)
		rep := r.serveRaw(1, target, func(c net.Conn) {
			c.Write(words)
			c.Close()
			said <- true
		})
		r.waitPort()
		r.addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), published).String()
		r.lastWords(rep, said, "", words)
	})
	onEach(t, func(t *testing.T, engine func(*Config)) {
		r, port := newRig(t, engine), freePort(t)
		r.deploy(1, httpSpec(port))
		said := make(chan bool, 1)
		rep := r.serveRaw(1, port, func(c net.Conn) {
			c.Read(make([]byte, 4096))
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(words))
			c.Write(words)
			c.Close()
			said <- true
		})
		r.lastWords(rep, said, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", words)
	})
}

// lastWords sends request, ends rep, and only then reads.
func (r *rig) lastWords(rep *replica, said <-chan bool, request string, want []byte) {
	r.t.Helper()
	_, br := r.raw(request)
	if _, err := br.Peek(1); err != nil {
		r.t.Fatal(err)
	}
	<-said
	rep.status(holdfast.Stopped, false)
	r.eventually("the gateway knows", func() bool {
		live := r.gw.set.Replica(rep.id)
		return live != nil && live.Gone().Err() != nil
	})
	got, err := io.ReadAll(br)
	if err != nil || !bytes.HasSuffix(got, want) {
		r.t.Errorf("got %d bytes, %v; want %d", len(got), err, len(want))
	}
}
