package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestServiceAddress(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	const vip = "10.208.15.254"
	n.service("web", on("front", vip))
	client := n.replica("client", 1, "front=10.208.0.100")
	var webs []*box
	var stops []func()
	for i := 1; i <= 3; i++ {
		w := n.replica("web", i, fmt.Sprintf("front=10.208.0.%d", i))
		stops = append(stops, w.echo(fmt.Sprintf("web%d", i), 80))
		webs = append(webs, w)
	}
	n.apply()

	seen := map[string]int{}
	for range 300 {
		s, c, err := client.ask("tcp", vip+":80")
		must(t, err)
		if c != "10.208.0.100" {
			t.Fatalf("the server saw client %s", c)
		}
		seen[s]++
	}
	for _, w := range []string{"web1", "web2", "web3"} {
		if seen[w] < 60 || seen[w] > 140 { // 100 each; 5 standard deviations
			t.Errorf("spread %v", seen)
		}
	}

	// A replica gets to its own service too, even when it is itself who answers.
	for range 20 {
		_, _, err := webs[0].ask("tcp", vip+":80")
		must(t, err)
	}

	// A UDP flow, and a TCP connection, to each of the replicas.
	udp := map[string]net.Conn{}
	tcp := map[string]net.Conn{}
	for len(udp) < 3 || len(tcp) < 3 {
		for proto, conns := range map[string]map[string]net.Conn{"udp": udp, "tcp": tcp} {
			c, err := client.dial(proto, vip+":80")
			must(t, err)
			defer c.Close()
			s, _, err := hello(c)
			must(t, err)
			conns[s] = c
		}
	}

	// web3 drains: its UDP flow goes elsewhere at once, its TCP connection goes on.
	n.table.Endpoints[3].Leaving = true
	n.apply()
	for range 50 {
		if s, _, err := client.ask("tcp", vip+":80"); err != nil || s == "web3" {
			t.Fatalf("new connection went to %q, %v", s, err)
		}
	}
	if s, _, err := hello(udp["web3"]); err != nil || s == "web3" {
		t.Errorf("UDP flow of a draining replica: answered by %q, %v", s, err)
	}
	if s, _, err := hello(udp["web1"]); err != nil || s != "web1" {
		t.Errorf("UDP flow of another replica: answered by %q, %v", s, err)
	}
	echoes(t, tcp["web3"])

	// web3 is gone: its TCP connection is reset, not silent.
	stops[2]()
	must(t, n.Release(context.Background(), webs[2].id))
	n.table.Endpoints = n.table.Endpoints[:3]
	n.apply()
	_ = tcp["web3"].SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = tcp["web3"].Write([]byte("x"))
	if _, err := tcp["web3"].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("connection to a dead replica: %v, want a reset", err)
	}
	echoes(t, tcp["web1"])

	// No replica is ready: refused at once; ready again: served.
	for i := range n.table.Endpoints {
		n.table.Endpoints[i].Ready = false
	}
	n.apply()
	unreachable(t, client, vip+":80")
	n.table.Endpoints[1].Ready = true
	n.apply()
	reaches(t, client, vip+":80", "web1", "10.208.0.100")
}

// echoes checks that c, to an echo server, still carries data both ways.
func echoes(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("ping")); err != nil {
		t.Errorf("write: %v", err)
		return
	}
	buf := make([]byte, 4)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "ping" {
		t.Errorf("echo: got %q, %v", buf, err)
	}
}
