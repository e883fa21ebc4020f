package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast/holdfast"
)

func TestHostPorts(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	n.net("other", "10.208.16.0/20", false)
	out := n.outside()
	web := n.replica("web", 1, "front=10.208.0.1")
	game := n.replica("game", 1, "front=10.208.0.2")
	stranger := n.replica("stranger", 1, "other=10.208.16.1")
	web.echo("web", 80)
	game.echo("game", 80)
	to := netip.MustParseAddrPort("10.208.0.1:80")
	n.table.HostPorts = []HostPort{
		{Port: 8080, Protocol: "tcp", To: []netip.AddrPort{to}},
		{Port: 8080, Protocol: "udp", To: []netip.AddrPort{to}},
		{HostIP: netip.MustParseAddr("127.0.0.1"), Port: 9090, Protocol: "tcp", To: []netip.AddrPort{to}},
		{HostIP: netip.MustParseAddr("127.0.0.1"), Port: 9090, Protocol: "udp", To: []netip.AddrPort{to}},
	}
	n.apply()
	reaches(t, out, "192.0.2.1:8080", "web", "192.0.2.2")
	reaches(t, stranger, "192.0.2.1:8080", "web", "10.208.16.1")
	reaches(t, game, "169.254.1.1:8080", "web", "10.208.0.2")
	if _, _, err := web.ask("tcp", "192.0.2.1:8080"); err != nil {
		t.Errorf("own published port: %v", err)
	}
	for _, proto := range []string{"tcp", "udp"} {
		for _, addr := range []string{"127.0.0.1:8080", "192.0.2.1:8080", "127.0.0.1:9090"} {
			if s, _, err := askFromNode(proto, addr); err != nil || s != "web" {
				t.Errorf("from the node, %s %s: got %q, %v", proto, addr, s, err)
			}
		}
	}
	refused(t, out, "192.0.2.1:9090") // published on 127.0.0.1 only

	// A UDP client keeps sending from one port while the port moves to another replica.
	c, err := out.dial("udp", "192.0.2.1:8080")
	must(t, err)
	defer c.Close()
	if s, _, err := hello(c); err != nil || s != "web" {
		t.Fatalf("got %q, %v", s, err)
	}
	n.table.HostPorts[1].To = []netip.AddrPort{netip.MustParseAddrPort("10.208.0.2:80")}
	n.apply()
	if s, _, err := hello(c); err != nil || s != "game" {
		t.Errorf("after the port moved: got %q, %v", s, err)
	}
	n.table.HostPorts = nil
	n.apply()
	refused(t, out, "192.0.2.1:8080")
}

func TestPublishedPort53LeavesDNSAlone(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	pi := n.replica("pi", 1, "front=10.208.0.1")
	pi.echo("pi", 53)
	n.table.HostPorts = []HostPort{{Port: 53, Protocol: "udp", To: []netip.AddrPort{netip.MustParseAddrPort("10.208.0.1:53")}}}
	n.apply()
	out := n.outside()
	if s, _, err := out.ask("udp", "192.0.2.1:53"); err != nil || s != "pi" {
		t.Errorf("from outside: got %q, %v", s, err)
	}
	if got := query(t, pi, "host.docker.internal.", 1); !slices.Equal(got, []string{"169.254.1.1"}) {
		t.Errorf("DNS: %v", got)
	}
}

// A program of the node has a port that a service publishes: it keeps it, and the other ports are published.
func TestHostPortsOfThisNodesPrograms(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	n.replica("web", 1, "front=10.208.0.1").echo("web", 80)
	theirs, err := net.Listen("tcp4", "127.0.0.1:8080")
	must(t, err)
	go func() {
		for c, err := theirs.Accept(); err == nil; c, err = theirs.Accept() {
			fmt.Fprintln(c, "theirs 127.0.0.1")
			c.Close()
		}
	}()
	to := []netip.AddrPort{netip.MustParseAddrPort("10.208.0.1:80")}
	n.table.HostPorts = []HostPort{{Port: 8080, Protocol: "tcp", To: to}, {Port: 8081, Protocol: "tcp", To: to}}
	if err := n.Apply(t.Context(), n.table); !errors.Is(err, holdfast.ErrConflict) || !strings.Contains(err.Error(), "8080/tcp") {
		t.Errorf("apply: %v", err)
	}
	for addr, want := range map[string]string{"127.0.0.1:8080": "theirs", "127.0.0.1:8081": "web"} {
		if s, _, err := askFromNode("tcp", addr); err != nil || s != want {
			t.Errorf("%s: got %q, %v, want %s", addr, s, err, want)
		}
	}
	if _, err := net.Listen("tcp4", ":8081"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a program listens on a published port: %v", err)
	}
	must(t, theirs.Close())
	n.apply()
	if s, _, err := askFromNode("tcp", "127.0.0.1:8080"); err != nil || s != "web" {
		t.Errorf("after the program ended: got %q, %v", s, err)
	}
}
