package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/holdfast/holdfast"
)

// reaches checks that who asks at addr is answered by server and seen as client; client "" is any.
func reaches(t *testing.T, b *box, addr, server, client string) {
	t.Helper()
	for _, proto := range []string{"tcp", "udp"} {
		s, c, err := b.ask(proto, addr)
		if err != nil || s != server || client != "" && c != client {
			t.Errorf("%s %s: got server %q, client %q, error %v; want %q, %q", proto, addr, s, c, err, server, client)
		}
	}
}

// refused checks that addr refuses at once, by an answer and not by silence.
func refused(t *testing.T, b *box, addr string) {
	t.Helper()
	for _, proto := range []string{"tcp", "udp"} {
		if s, _, err := b.ask(proto, addr); err == nil || isTimeout(err) {
			t.Errorf("%s %s: got %q, %v; want refusal", proto, addr, s, err)
		}
	}
}

// unreachable is refused where nobody has the address; UDP sockets do not heed the answer that says so.
func unreachable(t *testing.T, b *box, addr string) {
	t.Helper()
	if s, _, err := b.ask("tcp", addr); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("tcp %s: got %q, %v; want no route to host", addr, s, err)
	}
	if s, _, err := b.ask("udp", addr); err == nil {
		t.Errorf("udp %s: answered by %q", addr, s)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func TestReplicasOfOneNetworkReachEachOther(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	a := n.replica("a", 1, "front=10.208.0.1")
	b := n.replica("b", 1, "front=10.208.0.2")
	b.echo("b", 80)
	n.apply()
	reaches(t, a, "10.208.0.2:80", "b", "10.208.0.1")

	// The gateway is a process of the node.
	s, c, err := askFromNode("tcp", "10.208.0.2:80")
	if err != nil || s != "b" || c != Gateway.String() {
		t.Errorf("from the node: got %q, %q, %v", s, c, err)
	}
	unreachable(t, a, "10.208.0.99:80") // nobody's
}

func TestNetworksAreIsolated(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	n.net("back", "10.208.16.0/20", true)
	a := n.replica("a", 1, "front=10.208.0.1")
	b := n.replica("b", 1, "back=10.208.16.1")
	both := n.replica("both", 1, "front=10.208.0.3", "back=10.208.16.3")
	n.service("bs", on("back", "10.208.31.254"))
	n.table.Endpoints[1].Service = "bs"
	for name, x := range map[string]*box{"a": a, "b": b, "both": both} {
		x.echo(name, 80)
	}
	n.apply()
	refused(t, a, "10.208.16.1:80")
	refused(t, b, "10.208.0.1:80")
	unreachable(t, a, "10.208.31.254:80") // the service's address is no way round
	refused(t, a, "10.208.16.3:80")       // an address of `both` on a network that a is not on
	reaches(t, both, "10.208.0.1:80", "a", "10.208.0.3")
	reaches(t, both, "10.208.16.1:80", "b", "10.208.16.3")
	reaches(t, both, "10.208.31.254:80", "b", "10.208.16.3")
	reaches(t, b, "10.208.16.3:80", "both", "10.208.16.1")
}

func TestWayOutAndIn(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	n.net("back", "10.208.16.0/20", true)
	out := n.outside()
	open := n.replica("open", 1, "front=10.208.0.1")
	shut := n.replica("shut", 1, "back=10.208.16.1")
	out.echo("out", 80)
	open.echo("open", 80)
	shut.echo("shut", 80)
	n.apply()
	reaches(t, open, "192.0.2.2:80", "out", "192.0.2.1") // masqueraded
	refused(t, shut, "192.0.2.2:80")
	refused(t, out, "10.208.0.1:80") // what is not published is not there, even with a route to it
	refused(t, out, "10.208.16.1:80")

	l, err := net.Listen("tcp4", ":8888")
	must(t, err)
	defer l.Close()
	if _, err := open.dial("tcp", "169.254.1.1:8888"); err != nil {
		t.Errorf("host.docker.internal: %v", err)
	}
	for _, addr := range []string{"169.254.1.1:8888", "192.0.2.1:8888"} {
		if _, err := shut.dial("tcp", addr); err == nil {
			t.Errorf("a replica on an internal network reached the node at %s", addr)
		}
	}
}

func TestNodesLoopbackIsClosedToReplicas(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	a := n.replica("a", 1, "front=10.208.0.1")
	n.apply()
	l, err := net.Listen("tcp4", "127.0.0.1:7777")
	must(t, err)
	defer l.Close()
	// A replica that may change its routes sends packets for 127.0.0.1 to the node, which accepts them on links with
	// route_localnet (CVE-2020-8558).
	must(t, a.do(func() error {
		if err := setSysctl("net/ipv4/conf/all/route_localnet", "1"); err != nil {
			return err
		}
		h, err := netlink.NewHandle()
		if err != nil {
			return err
		}
		defer h.Close()
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := h.AddrDel(lo, mustAddr("127.0.0.1/8")); err != nil {
			return err
		}
		eth, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		table := &netlink.Route{Dst: ipNet(netip.MustParsePrefix("127.0.0.0/8")), LinkIndex: eth.Attrs().Index, Gw: Gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK), Src: net.IPv4(10, 208, 0, 1)}
		return h.RouteAdd(table)
	}))
	c, err := a.dial("tcp", "127.0.0.1:7777")
	if err == nil {
		c.Close()
		t.Fatal("a replica reached the node's 127.0.0.1")
	}
}

func TestSpoofedSourceIsDropped(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	thief := n.replica("thief", 1, "front=10.208.0.1")
	n.replica("owner", 1, "front=10.208.0.2")
	b := n.replica("b", 1, "front=10.208.0.3")
	n.apply()
	got := make(chan string, 16)
	must(t, b.do(func() error {
		p, err := net.ListenPacket("udp4", ":9000")
		if err != nil {
			return err
		}
		t.Cleanup(func() { p.Close() })
		go func() {
			buf := make([]byte, 100)
			for {
				k, _, err := p.ReadFrom(buf)
				if err != nil {
					return
				}
				got <- string(buf[:k])
			}
		}()
		return nil
	}))
	send := func(source, text string) {
		must(t, thief.do(func() error {
			h, err := netlink.NewHandle()
			if err != nil {
				return err
			}
			defer h.Close()
			lo, err := h.LinkByName("lo")
			if err != nil {
				return err
			}
			if err := h.AddrReplace(lo, mustAddr(source+"/32")); err != nil {
				return err
			}
			d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(source)}}
			c, err := d.Dial("udp4", "10.208.0.3:9000")
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte(text))
			return err
		}))
	}
	send("10.208.0.2", "spoofed: a neighbour's")
	send("10.208.0.77", "spoofed: nobody's")
	send("8.8.8.8", "spoofed: a stranger's")
	send("10.208.0.1", "honest")
	if first := <-got; first != "honest" {
		t.Errorf("received %q", first)
	}
}

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

// Admins look at the rules with nft, which must understand them.
func TestRulesCanBeListed(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	n.service("web", on("front", "10.208.15.254"))
	n.replica("web", 1, "front=10.208.0.1")
	to := []netip.AddrPort{netip.MustParseAddrPort("10.208.0.1:80")}
	n.table.HostPorts = []HostPort{{Port: 8080, Protocol: "tcp", To: to}, {HostIP: netip.MustParseAddr("127.0.0.1"), Port: 1, Protocol: "udp", To: to}}
	n.apply()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	for _, line := range []string{
		`iifname "hfv-*" fib saddr . iif oif 0 drop`,
		"ip saddr . ip daddr @peers ip daddr vmap @vip",
		"ct status dnat accept",
		"elements = { 10.208.15.254 : goto vip_1 }",
		"dnat to ip daddr . numgen random mod 1 map @vip_to",
		"elements = { 127.0.0.1 . udp . 1 : goto addrport_1 }",
	} {
		if !strings.Contains(string(out), line) {
			t.Errorf("no line %q", line)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// Another DNS server has port 53 of all the node's addresses.
func TestDNSBesideAnother(t *testing.T) {
	if !onNode(t) {
		return
	}
	must(t, netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo"}}))
	p, err := net.ListenPacket("udp4", ":53")
	must(t, err)
	defer p.Close()
	n := newNode(t)
	n.net("back", "10.208.0.0/20", true)
	a := n.replica("a", 1, "back=10.208.0.1")
	n.service("a", on("back", "10.208.15.254"))
	n.apply()
	for _, proto := range []string{"udp", "tcp"} {
		reply := exchange(t, a, proto, "a.", 1)
		if len(reply.Answer) != 1 {
			t.Errorf("%s: %v", proto, reply)
		}
	}
}

// A firewall that forwards nothing by default, as Docker and ufw leave one.
func TestBesideAFirewall(t *testing.T) {
	if !onNode(t) {
		return
	}
	if out, err := exec.Command("iptables", "-P", "FORWARD", "DROP").CombinedOutput(); err != nil {
		t.Fatalf("iptables: %v\n%s", err, out)
	}
	for range 2 { // a restart adds nothing
		n := newNode(t)
		n.net("front", "10.208.0.0/20", false)
		n.net("other", "10.208.16.0/20", false)
		a := n.replica("a", 1, "front=10.208.0.1")
		b := n.replica("b", 1, "front=10.208.0.2")
		c := n.replica("c", 1, "other=10.208.16.1")
		b.echo("b", 80)
		n.apply()
		reaches(t, a, "10.208.0.2:80", "b", "10.208.0.1")
		refused(t, c, "10.208.0.2:80")
		must(t, n.Close())
		n.open()
	}
	out, err := exec.Command("iptables", "-S", "FORWARD").Output()
	if err != nil || strings.Count(string(out), "\n") != 3 {
		t.Errorf("FORWARD: %v\n%s", err, out)
	}
}

// A machine outside that gives itself a replica's address does not get into its networks.
func TestPretenderOutsideIsDropped(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	out := n.outside()
	a := n.replica("a", 1, "front=10.208.0.1")
	got := make(chan string, 1)
	must(t, a.do(func() error {
		p, err := net.ListenPacket("udp4", ":9000")
		if err != nil {
			return err
		}
		t.Cleanup(func() { p.Close() })
		go func() {
			buf := make([]byte, 100)
			k, _, _ := p.ReadFrom(buf)
			got <- string(buf[:k])
		}()
		return nil
	}))
	n.table.HostPorts = []HostPort{{Port: 9000, Protocol: "udp", To: []netip.AddrPort{netip.MustParseAddrPort("10.208.0.1:9000")}}}
	n.apply()
	must(t, out.do(func() error {
		h, err := netlink.NewHandle()
		if err != nil {
			return err
		}
		defer h.Close()
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.AddrAdd(lo, mustAddr("10.208.0.2/32"))
	}))
	send := func(from, to, text string) {
		must(t, out.do(func() error {
			d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
			c, err := d.Dial("udp4", to)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte(text))
			return err
		}))
	}
	send("10.208.0.2", "10.208.0.1:9000", "pretended")
	send("192.0.2.2", "192.0.2.1:9000", "honest")
	if first := <-got; first != "honest" {
		t.Errorf("received %q", first)
	}
}

func TestAgentRestartChangesNothing(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	n.net("back", "10.208.16.0/20", true)
	n.service("web", on("front", "10.208.15.254"))
	client := n.replica("client", 1, "front=10.208.0.100", "back=10.208.16.1")
	web := n.replica("web", 1, "front=10.208.0.1")
	n.table.HostPorts = []HostPort{{Port: 8080, Protocol: "tcp", To: []netip.AddrPort{netip.MustParseAddrPort("10.208.0.1:80")}}}
	parked, orphan := newBox(t), newBox(t)
	must(t, n.Prepare(context.Background(), parked.id, parked.path()))
	must(t, n.Prepare(context.Background(), orphan.id, orphan.path()))
	web.echo("web", 80)
	n.apply()
	c, err := client.dial("tcp", "10.208.15.254:80")
	must(t, err)
	defer c.Close()
	if _, _, err := hello(c); err != nil {
		t.Fatal(err)
	}

	must(t, n.Close())
	echoes(t, c) // no agent
	reaches(t, client, "10.208.15.254:80", "web", "10.208.0.100")
	before := commits(t)
	n.open()
	found := n.rules
	if missing, err := n.Adopt(context.Background(), []string{client.id, web.id, parked.id, "unknown"}); err != nil || !slices.Equal(missing, []string{"unknown"}) {
		t.Errorf("adopt: missing %v, %v", missing, err)
	}
	n.apply()
	if after := commits(t); after != before {
		del, add := diff(found.have, n.rules.have)
		t.Errorf("a restart with an equal table wrote rules: generation %d, then %d; found %v, intact %v, DNS on %d, surplus %q, missing %q",
			before, after, found.exists, found.intact, found.dnsPort, del, add)
	}
	echoes(t, c)
	reaches(t, client, "10.208.15.254:80", "web", "10.208.0.100")

	// A sandbox that the former agent parked is good.
	must(t, n.Connect(context.Background(), Endpoint{Sandbox: parked.id, NetNS: parked.path(), Replica: "web2", Attachments: []Attachment{
		{Network: "front", Subnet: n.subnet("front"), Addr: netip.MustParseAddr("10.208.0.2")},
	}}))
	parked.echo("parked", 80)
	n.table.Endpoints = append(n.table.Endpoints, Peer{Replica: "web2", App: "app", Service: "web", Slot: 2, Local: true, Addrs: map[string]netip.Addr{"front": netip.MustParseAddr("10.208.0.2")}})
	n.apply()
	reaches(t, client, "10.208.0.2:80", "parked", "10.208.0.100")

	// One that the former agent connected can be released.
	must(t, n.Release(context.Background(), web.id))
	if routes, _ := netlink.RouteGet(net.IPv4(10, 208, 0, 1)); len(routes) > 0 {
		t.Errorf("still routed: %v", routes)
	}
}

func commits(t *testing.T) uint32 {
	t.Helper()
	gen, err := generation()
	must(t, err)
	return gen
}

// What someone else did to our rules is mended by the next Apply, though its table is the same.
func TestApplyMendsTheRules(t *testing.T) {
	for _, harm := range []string{
		"flush ruleset",
		"flush table ip holdfast",
		"delete element ip holdfast vip { 10.208.15.254 }",
		"flush set ip holdfast peers",
		"add element ip holdfast vip_to { 10.208.15.254 . 0x00000007 : 10.208.0.9 }",
		"flush ruleset; add table ip holdfast; add set ip holdfast peers { type ipv4_addr; }",
	} {
		t.Run(strings.ReplaceAll(strings.Fields(harm)[0]+" "+strings.Fields(harm)[1], " ", "-"), func(t *testing.T) {
			if !onNode(t) {
				return
			}
			n := newNode(t)
			n.net("front", "10.208.0.0/20", false)
			n.net("other", "10.208.16.0/20", false)
			n.service("web", on("front", "10.208.15.254"))
			client := n.replica("client", 1, "front=10.208.0.100")
			web := n.replica("web", 1, "front=10.208.0.1")
			web.echo("web", 80)
			n.replica("other", 1, "other=10.208.16.1").echo("other", 80)
			n.apply()
			if out, err := exec.Command("nft", harm).CombinedOutput(); err != nil {
				t.Fatalf("nft %s: %v\n%s", harm, err, out)
			}
			n.apply()
			reaches(t, client, "10.208.15.254:80", "web", "10.208.0.100")
			refused(t, client, "10.208.16.1:80")
			want := desired(n.table)
			fresh := ruleset{table: "holdfast", prefix: "hfv-", dnsPort: 53}
			must(t, fresh.refresh())
			if del, add := diff(fresh.have, want); !fresh.intact || len(del)+len(add) > 0 {
				t.Errorf("kernel differs: intact %v, surplus %q, missing %q", fresh.intact, del, add)
			}
		})
	}
}

func TestConnectAgainWithOtherAddresses(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	a := n.replica("a", 1, "front=10.208.0.1")
	b := n.replica("b", 1, "front=10.208.0.2")
	b.echo("b", 80)
	for range 2 {
		must(t, n.Connect(context.Background(), Endpoint{Sandbox: b.id, NetNS: b.path(), Attachments: []Attachment{
			{Network: "front", Subnet: n.subnet("front"), Addr: netip.MustParseAddr("10.208.0.7")},
		}}))
	}
	n.table.Endpoints[1].Addrs["front"] = netip.MustParseAddr("10.208.0.7")
	n.apply()
	reaches(t, a, "10.208.0.7:80", "b", "10.208.0.1")
	unreachable(t, a, "10.208.0.2:80")
	err := n.Connect(context.Background(), Endpoint{Sandbox: "never", Replica: "r"})
	if !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("connect of a sandbox that was not prepared: %v", err)
	}
	must(t, n.Release(context.Background(), "never"))
}

// An address goes from a dying replica to a new one while the dying one is still there.
func TestAddressIsTakenOver(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	a := n.replica("a", 1, "front=10.208.0.1")
	old := n.replica("b", 1, "front=10.208.0.2")
	fresh := n.replica("b", 1, "front=10.208.0.2")
	fresh.echo("fresh", 80)
	must(t, n.Release(context.Background(), old.id))
	n.table.Endpoints = slices.Delete(n.table.Endpoints, 1, 2)
	n.apply()
	reaches(t, a, "10.208.0.2:80", "fresh", "10.208.0.1")
}

func TestReplicaWithoutRootListensOnLowPorts(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	a := n.replica("a", 1, "front=10.208.0.1")
	cmd := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", syscall.Getpid(), int(a.ns)), "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != "0" {
		t.Errorf("ip_unprivileged_port_start is %q, %v", out, err)
	}
}
