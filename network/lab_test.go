package network

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const labEnv = "HOLDFAST_TEST_NODE"

// onNode runs the rest of the calling test in a fresh node. The caller returns when it reports false: the test was run
// elsewhere and its outcome is this one's.
func onNode(t testing.TB) bool {
	t.Helper()
	if os.Getenv(labEnv) == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	if p, ok := t.(interface{ Parallel() }); ok {
		p.Parallel() // each has a node of its own
	}
	args := []string{"-test.v", "-test.timeout=120s", "-test.run=^" + t.Name() + "$"}
	if _, ok := t.(*testing.B); ok {
		args = []string{"-test.run=^$", "-test.bench=^" + t.Name() + "$", "-test.benchtime=" + benchTime()}
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), labEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

func benchTime() string {
	for _, a := range os.Args {
		if v, ok := strings.CutPrefix(a, "-test.benchtime="); ok {
			return v
		}
	}
	return "1s"
}

// box is a network namespace: a sandbox, or a machine outside.
type box struct {
	t  testing.TB
	ns netns.NsHandle
	id string
}

func newBox(t testing.TB) *box {
	t.Helper()
	b := &box{t: t, id: randomID()}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and let it end with the goroutine
		var err error
		b.ns, err = netns.New()
		result <- err
	}()
	must(t, <-result)
	t.Cleanup(func() { _ = b.ns.Close() })
	return b
}

func randomID() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

func (b *box) path() string { return fmt.Sprintf("/proc/self/fd/%d", int(b.ns)) }

// do runs f in the box. Sockets that f makes stay in it.
func (b *box) do(f func() error) error { return inNamespace(b.ns, f) }

// echo serves "<name>" to whoever connects or sends, TCP and UDP, until the test ends, and returns how to stop it.
func (b *box) echo(name string, port uint16) (stop func()) {
	b.t.Helper()
	var l net.Listener
	var p net.PacketConn
	must(b.t, b.do(func() (err error) {
		if l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port)); err != nil {
			return err
		}
		p, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
		return err
	}))
	stop = func() { _ = l.Close(); _ = p.Close() }
	b.t.Cleanup(stop)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr().(*net.TCPAddr).IP)
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	go func() {
		buf := make([]byte, 2048)
		for {
			_, from, err := p.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = p.WriteTo([]byte(name+" "+from.(*net.UDPAddr).IP.String()), from)
		}
	}()
	return stop
}

// dial connects from the box.
func (b *box) dial(network, addr string) (c net.Conn, err error) {
	err = b.do(func() (err error) {
		c, err = net.DialTimeout(network, addr, 2*time.Second)
		return err
	})
	return c, err
}

// ask returns who answers at addr and which client address they saw.
func (b *box) ask(network, addr string) (server, client string, err error) {
	c, err := b.dial(network, addr)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	return hello(c)
}

// askFromNode is ask by a process of the node itself.
func askFromNode(network, addr string) (server, client string, err error) {
	c, err := net.DialTimeout(network, addr, 2*time.Second)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	return hello(c)
}

func hello(c net.Conn) (server, client string, err error) {
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if c.RemoteAddr().Network() == "udp" {
		if _, err := c.Write([]byte("hello")); err != nil {
			return "", "", err
		}
	}
	buf := make([]byte, 256)
	n, err := c.Read(buf)
	if err != nil {
		return "", "", err
	}
	server, client, _ = strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
	return server, client, nil
}

// node is the lab's node with its Network and the table applied last.
type node struct {
	*Network
	t     testing.TB
	table Table
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t}
	n.open()
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func (n *node) open() {
	n.t.Helper()
	network, err := Open(Config{Log: slog.New(slog.DiscardHandler), MTU: 1500, reapAfter: 10 * time.Millisecond})
	must(n.t, err)
	n.Network = network
}

func (n *node) apply() {
	n.t.Helper()
	must(n.t, n.Apply(context.Background(), n.table))
}

func (n *node) net(name, subnet string, internal bool) {
	n.table.Networks = append(n.table.Networks, Net{Name: name, Subnet: netip.MustParsePrefix(subnet), Internal: internal})
}

// replica makes a connected sandbox and puts it into the table, ready. on is "network=address" each.
func (n *node) replica(service string, slot int, on ...string) *box {
	n.t.Helper()
	b := newBox(n.t)
	must(n.t, n.Prepare(context.Background(), b.id, b.path()))
	peer := Peer{Replica: fmt.Sprintf("app-%s-%d-%s", service, slot, b.id), App: "app", Service: service, Slot: slot, Local: true, Ready: true, Addrs: map[string]netip.Addr{}}
	e := Endpoint{Sandbox: b.id, NetNS: b.path(), Replica: peer.Replica}
	for _, s := range on {
		name, addr, _ := strings.Cut(s, "=")
		peer.Addrs[name] = netip.MustParseAddr(addr)
		e.Attachments = append(e.Attachments, Attachment{Network: name, Subnet: n.subnet(name), Addr: peer.Addrs[name]})
	}
	must(n.t, n.Connect(context.Background(), e))
	n.table.Endpoints = append(n.table.Endpoints, peer)
	return b
}

func (n *node) subnet(name string) netip.Prefix {
	for _, x := range n.table.Networks {
		if x.Name == name {
			return x.Subnet
		}
	}
	n.t.Fatalf("no network %s", name)
	return netip.Prefix{}
}

func (n *node) service(name string, on ...ServiceNet) {
	n.table.Services = append(n.table.Services, Service{App: "app", Name: name, Networks: on})
}

func on(network, vip string, aliases ...string) ServiceNet {
	return ServiceNet{Network: network, VIP: netip.MustParseAddr(vip), Aliases: aliases}
}

// outside makes a machine on a link of the node: the node is 192.0.2.1 there, the machine 192.0.2.2, and its default
// route is the node.
func (n *node) outside() *box {
	n.t.Helper()
	b := newBox(n.t)
	name := "out" + b.id[:8]
	must(n.t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, Flags: net.FlagUp}, PeerName: "eth0", PeerNamespace: netlink.NsFd(b.ns)}))
	link, err := netlink.LinkByName(name)
	must(n.t, err)
	must(n.t, netlink.AddrAdd(link, mustAddr("192.0.2.1/24")))
	must(n.t, b.do(func() error {
		h, err := netlink.NewHandle()
		if err != nil {
			return err
		}
		defer h.Close()
		link, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := h.LinkSetUp(link); err != nil {
			return err
		}
		if err := h.AddrAdd(link, mustAddr("192.0.2.2/24")); err != nil {
			return err
		}
		return h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.IPv4(192, 0, 2, 1)})
	}))
	must(n.t, n.awaitCarrier(context.Background(), &sandbox{name: name, host: link.Attrs().Index}))
	return b
}

func mustAddr(s string) *netlink.Addr {
	a, err := netlink.ParseAddr(s)
	if err != nil {
		panic(err)
	}
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
