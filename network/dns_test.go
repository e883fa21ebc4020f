package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// query asks the node's server from b and returns the data of the answers, sorted; or the rcode when there is none.
func query(t *testing.T, b *box, name string, qtype uint16) []string {
	t.Helper()
	reply := exchange(t, b, "udp", name, qtype)
	var out []string
	for _, rr := range reply.Answer {
		fields := strings.Fields(rr.String())
		out = append(out, fields[len(fields)-1])
	}
	if len(out) == 0 {
		return []string{dns.RcodeToString[reply.Rcode]}
	}
	slices.Sort(out)
	return out
}

func exchange(t *testing.T, b *box, proto, name string, qtype uint16) *dns.Msg {
	t.Helper()
	c, err := b.dial(proto, "169.254.1.1:53")
	must(t, err)
	defer c.Close()
	conn := &dns.Conn{Conn: c}
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	must(t, conn.WriteMsg(new(dns.Msg).SetQuestion(name, qtype)))
	reply, err := conn.ReadMsg()
	if err != nil {
		t.Fatalf("%s %s: %v", proto, name, err)
	}
	return reply
}

func TestNames(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	n.net("back", "10.208.16.0/20", true)
	client := n.replica("client", 1, "front=10.208.0.100")
	db := n.replica("db", 1, "back=10.208.16.1")
	n.replica("web", 1, "front=10.208.0.1", "back=10.208.16.3")
	n.replica("web", 2, "front=10.208.0.2", "back=10.208.16.4")
	n.replica("web", 3, "front=10.208.0.3", "back=10.208.16.5")
	n.replica("web", 4, "front=10.208.0.4", "back=10.208.16.6")
	n.table.Endpoints[4].Leaving = true // web 3
	n.table.Endpoints[5].Ready = false  // web 4
	n.table.Endpoints[2].Hostname = "Frontdoor"
	n.service("web", on("front", "10.208.15.254", "www"), on("back", "10.208.31.254"))
	n.service("db", ServiceNet{Network: "back"})
	n.service("client", on("front", "10.208.15.253"))
	n.apply()
	web1 := n.table.Endpoints[2].Replica
	for _, c := range []struct {
		from *box
		name string
		want string
	}{
		{client, "web.", "10.208.15.254"},
		{client, "WeB.", "10.208.15.254"},
		{client, "www.", "10.208.15.254"},
		{client, "web.app.", "10.208.15.254"},
		{client, "tasks.web.", "10.208.0.1 10.208.0.2"},
		{client, "tasks.www.", "10.208.0.1 10.208.0.2"},
		{client, "2.web.", "10.208.0.2"},
		{client, "3.web.", "NXDOMAIN"}, // leaving
		{client, "4.web.", "10.208.0.4"},
		{client, web1 + ".", "10.208.0.1"},
		{client, "frontdoor.", "10.208.0.1"},
		{client, "db.", "NXDOMAIN"}, // on a network that client is not on
		{client, "host.docker.internal.", "169.254.1.1"},
		{db, "web.", "10.208.31.254"},
		{db, "www.", "NXDOMAIN"}, // an alias on the other network
		{db, "db.", "10.208.16.1"},
		{db, "tasks.web.", "10.208.16.3 10.208.16.4"},
		{db, "client.", "NXDOMAIN"},
		{db, "example.com.", "NXDOMAIN"}, // internal networks only: no resolver is asked
	} {
		if got := strings.Join(query(t, c.from, c.name, dns.TypeA), " "); got != c.want && !(c.name == "3.web." && got == "SERVFAIL") {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	if got := query(t, client, "web.", dns.TypeAAAA); got[0] != "NOERROR" {
		t.Errorf("AAAA of a service: %v, want no data", got)
	}
	if got := query(t, client, "1.0.208.10.in-addr.arpa.", dns.TypePTR); got[0] != web1+"." {
		t.Errorf("PTR: %v", got)
	}
	if got := query(t, client, "254.15.208.10.in-addr.arpa.", dns.TypePTR); got[0] != "web.app." {
		t.Errorf("PTR of a service address: %v", got)
	}
	if got := query(t, client, "1.16.208.10.in-addr.arpa.", dns.TypePTR); got[0] != "NXDOMAIN" {
		t.Errorf("PTR on a network that the client is not on: %v", got)
	}
}

func TestLargeAnswersAreCutForUDPAndWholeForTCP(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	client := n.replica("client", 1, "front=10.208.0.100")
	n.service("web", ServiceNet{Network: "front"})
	for i := range 200 {
		n.table.Endpoints = append(n.table.Endpoints, Peer{
			Replica: fmt.Sprint("r", i), App: "app", Service: "web", Slot: i + 1, Ready: true,
			Addrs: map[string]netip.Addr{"front": netip.AddrFrom4([4]byte{10, 208, 1, byte(i)})},
		})
	}
	n.apply()
	short := exchange(t, client, "udp", "web.", dns.TypeA)
	short.Compress = true
	if !short.Truncated || short.Len() > 512 || len(short.Answer) == 0 {
		t.Errorf("UDP: truncated %v, %d bytes, %d answers", short.Truncated, short.Len(), len(short.Answer))
	}
	whole := exchange(t, client, "tcp", "web.", dns.TypeA)
	if whole.Truncated || len(whole.Answer) != 200 {
		t.Errorf("TCP: truncated %v, %d answers", whole.Truncated, len(whole.Answer))
	}
}
