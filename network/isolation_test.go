package network

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
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
