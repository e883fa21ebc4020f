package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/holdfast/holdfast"
)

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

func TestRemove(t *testing.T) {
	if !onNode(t) {
		return
	}
	must(t, Remove(Config{})) // nothing is there
	state := func() string {
		out, err := exec.Command("sh", "-c", "ip -o addr | grep -v ::; ip route; ip -o link; nft list ruleset; iptables -S").CombinedOutput()
		must(t, err)
		return string(out)
	}
	if out, err := exec.Command("iptables", "-P", "FORWARD", "DROP").CombinedOutput(); err != nil {
		t.Fatalf("iptables: %v\n%s", err, out)
	}
	must(t, netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo"}}))
	before := state()
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	n.replica("web", 1, "front=10.208.0.1")
	n.apply()
	must(t, Remove(Config{}))
	if after := state(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// The C library's resolver, with the files that a container gets, before and after an agent's restart.
func TestRealResolver(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	n.service("web", on("front", "10.208.15.254"))
	client := n.replica("client", 1, "front=10.208.0.1")
	n.apply()
	conf, err := ResolvConfFile(holdfast.DNS{Search: []string{"lan"}, Options: []string{"timeout:1"}}, nil)
	must(t, err)
	hosts, err := HostsFile("client-1", "", []netip.Addr{netip.MustParseAddr("10.208.0.1")}, []string{"other=192.0.2.7"})
	must(t, err)
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/resolv.conf", conf, 0o644))
	must(t, os.WriteFile(dir+"/hosts", hosts, 0o644))
	getent := func(args string) string {
		script := fmt.Sprintf("mount --bind %[1]s/resolv.conf /etc/resolv.conf && mount --bind %[1]s/hosts /etc/hosts && exec getent %[2]s", dir, args)
		out, _ := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), int(client.ns)), "unshare", "--mount", "sh", "-c", script).CombinedOutput()
		return strings.Join(strings.Fields(string(out)), " ")
	}
	for args, want := range map[string]string{
		"ahostsv4 web":               "10.208.15.254 STREAM web 10.208.15.254 DGRAM 10.208.15.254 RAW",
		"ahosts web":                 "10.208.15.254 STREAM web 10.208.15.254 DGRAM 10.208.15.254 RAW",
		"hosts other":                "192.0.2.7 other",
		"hosts client-1":             "10.208.0.1 client-1",
		"hosts 10.208.15.254":        "10.208.15.254 web.app",
		"hosts host.docker.internal": "169.254.1.1 host.docker.internal",
	} {
		if got := getent(args); got != want {
			t.Errorf("getent %s: got %q, want %q", args, got, want)
		}
	}
	must(t, n.Close())
	answer := make(chan string)
	go func() { answer <- getent("ahostsv4 web.app") }()
	c, err := client.dial("udp", "169.254.1.1:53")
	must(t, err)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	_, _ = c.Write([]byte("0123456789ab"))
	if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("a question while no agent runs: %v, want silence", err)
	}
	n.open()
	n.apply()
	if got := <-answer; !strings.HasPrefix(got, "10.208.15.254 STREAM web.app") {
		t.Errorf("asked while no agent ran: got %q", got)
	}
}
