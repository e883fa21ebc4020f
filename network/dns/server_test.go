package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var (
	a1 = netip.MustParseAddr("10.208.0.1") // app one, on front
	a2 = netip.MustParseAddr("10.208.0.2") // app two, on front
	b1 = netip.MustParseAddr("10.208.16.1")
	c1 = netip.MustParseAddr("10.208.32.1") // on back only, which is internal
)

func testZone() Zone {
	return Zone{
		Networks: []Network{
			{Name: "front", Subnet: netip.MustParsePrefix("10.208.0.0/20")},
			{Name: "back", Subnet: netip.MustParsePrefix("10.208.16.0/20"), Internal: true},
			{Name: "back2", Subnet: netip.MustParsePrefix("10.208.32.0/20"), Internal: true},
		},
		Askers: []Asker{
			{App: "one", Addrs: []netip.Addr{a1, b1}, Networks: []string{"front", "back"}},
			{App: "two", Addrs: []netip.Addr{a2}, Networks: []string{"front"}},
			{App: "three", Addrs: []netip.Addr{c1}, Networks: []string{"back2"}},
		},
		Records: []Record{
			{Network: "front", App: "one", Name: "web", Addrs: []netip.Addr{netip.MustParseAddr("10.208.0.11")}},
			{Network: "front", App: "two", Name: "web", Addrs: []netip.Addr{netip.MustParseAddr("10.208.0.22")}},
			{Network: "front", App: "two", Name: "web.two", Addrs: []netip.Addr{netip.MustParseAddr("10.208.0.22")}},
			{Network: "front", App: "two", Name: "only", Addrs: []netip.Addr{netip.MustParseAddr("10.208.0.23")}},
			{Network: "back", App: "one", Name: "Multi", Addrs: []netip.Addr{b1}},
			{Network: "front", App: "one", Name: "multi", Addrs: []netip.Addr{a1}},
			{Network: "front", App: "one", Name: "none"},
		},
		Pointers: []Pointer{{Network: "front", Addr: a1, Name: "one-web-1"}},
		Hosts:    map[string]netip.Addr{"Host.Docker.internal": netip.MustParseAddr("169.254.1.1")},
	}
}

func testServer(t testing.TB, upstreams ...netip.AddrPort) *Server {
	s := newServer(Config{Addr: netip.MustParseAddrPort("169.254.1.1:53"), Upstreams: upstreams, Timeout: 100 * time.Millisecond, MaxAsking: 16, Log: discard})
	t.Cleanup(s.cancel)
	s.Set(testZone())
	return s
}

func ask(s *Server, from netip.Addr, name string, qtype uint16) *dns.Msg {
	return s.answer(context.Background(), from, new(dns.Msg).SetQuestion(name, qtype), false)
}

func TestAnswersByWhoAsks(t *testing.T) {
	s := testServer(t)
	unknown := netip.MustParseAddr("10.208.0.200") // on front; the zone does not know it yet
	for _, c := range []struct {
		from netip.Addr
		name string
		want string
	}{
		{a1, "web.", "10.208.0.11"}, // its own app's hides the other's
		{a2, "web.", "10.208.0.22"},
		{a1, "web.two.", "10.208.0.22"},
		{a1, "WEB.two.", "10.208.0.22"},
		{a1, "only.", "10.208.0.23"},
		{b1, "only.", "10.208.0.23"}, // the asker is one, whatever address it asks from
		{a1, "multi.", "10.208.0.1 10.208.16.1"},
		{a2, "multi.", "10.208.0.1"},
		{a1, "none.", "NOERROR"},
		{c1, "web.", "NXDOMAIN"},
		{c1, "example.com.", "NXDOMAIN"}, // internal only
		{unknown, "web.", "10.208.0.11 10.208.0.22"},
		{netip.MustParseAddr("192.0.2.7"), "web.", "REFUSED"},
		{a1, "host.docker.internal.", "169.254.1.1"},
		{a1, "example.com.", "SERVFAIL"}, // no resolver
	} {
		reply := ask(s, c.from, c.name, dns.TypeA)
		if got := text(reply); got != c.want {
			t.Errorf("%s asks %s: got %s, want %s", c.from, c.name, got, c.want)
		}
		if len(reply.Answer) > 0 && reply.Answer[0].Header().Ttl != 0 {
			t.Errorf("%s: TTL %d", c.name, reply.Answer[0].Header().Ttl)
		}
		if reply.Rcode == dns.RcodeNameError && (len(reply.Ns) != 1 || reply.Ns[0].(*dns.SOA).Minttl != 0) {
			t.Errorf("%s: no negative TTL of 0: %v", c.name, reply.Ns)
		}
	}
	for _, c := range []struct {
		from netip.Addr
		name string
		want string
	}{
		{a2, "1.0.208.10.in-addr.arpa.", "one-web-1."},
		{c1, "1.0.208.10.in-addr.arpa.", "NXDOMAIN"},
		{a1, "9.9.208.10.in-addr.arpa.", "NXDOMAIN"},
		{a1, "1.1.254.169.in-addr.arpa.", "host.docker.internal."},
		{a1, "8.8.8.8.in-addr.arpa.", "SERVFAIL"},
		{a1, "x.8.8.8.in-addr.arpa.", "SERVFAIL"},
	} {
		if got := text(ask(s, c.from, c.name, dns.TypePTR)); got != c.want {
			t.Errorf("%s asks %s: got %s, want %s", c.from, c.name, got, c.want)
		}
	}
	for _, qtype := range []uint16{dns.TypeAAAA, dns.TypeMX, dns.TypeSRV, dns.TypeTXT} {
		if got := text(ask(s, a1, "web.", qtype)); got != "NOERROR" {
			t.Errorf("%s of a service: %s", dns.TypeToString[qtype], got)
		}
	}
}

// text is the data of all answers, sorted, or the rcode.
func text(m *dns.Msg) string {
	var out []string
	for _, rr := range m.Answer {
		f := strings.Fields(rr.String())
		out = append(out, f[len(f)-1])
	}
	if len(out) == 0 {
		return dns.RcodeToString[m.Rcode]
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestAnswersAreShuffled(t *testing.T) {
	s := testServer(t)
	first := map[string]int{}
	for range 200 {
		first[ask(s, a1, "multi.", dns.TypeA).Answer[0].(*dns.A).A.String()]++
	}
	if first["10.208.0.1"] < 50 || first["10.208.16.1"] < 50 {
		t.Errorf("first answers: %v", first)
	}
}

// upstream is a resolver that answers 192.0.2.53 to everything by UDP, or what handle says.
func upstream(t *testing.T, handle dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if handle == nil {
		handle = answerWith("192.0.2.53")
	}
	for _, server := range []*dns.Server{{Listener: l, Handler: handle}, {PacketConn: p, Handler: handle}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return netip.MustParseAddrPort(l.Addr().String())
}

func answerWith(addrs ...string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for _, a := range addrs {
			m.Answer = append(m.Answer, &dns.A{Hdr: header(q.Question[0].Name, dns.TypeA), A: net.ParseIP(a).To4()})
		}
		_ = w.WriteMsg(m)
	}
}

func TestForwards(t *testing.T) {
	var asked atomic.Int32
	good := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		answerWith("192.0.2.53")(w, q)
	})
	own := upstream(t, answerWith("192.0.2.99"))
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	mute := netip.MustParseAddrPort(silent.LocalAddr().String())
	broken := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(fail(q, dns.RcodeServerFailure)) })
	other := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Question[0].Name = "forged."
		_ = w.WriteMsg(m)
	})

	for what, resolvers := range map[string][]netip.AddrPort{
		"one resolver":            {good},
		"the first is silent":     {mute, good},
		"the first is broken":     {broken, good},
		"the first is forging":    {other, good},
		"the first is the server": {netip.MustParseAddrPort("169.254.1.1:53"), good},
	} {
		if got := text(ask(testServer(t, resolvers...), a1, "example.com.", dns.TypeA)); got != "192.0.2.53" {
			t.Errorf("%s: got %s", what, got)
		}
	}
	s := testServer(t, good)
	before := asked.Load()
	for _, name := range []string{"web.", "only.", "none.", "host.docker.internal.", "1.0.208.10.in-addr.arpa."} {
		ask(s, a1, name, dns.TypeA)
		ask(s, c1, name, dns.TypeAAAA)
	}
	ask(s, c1, "secret.example.com.", dns.TypeA)
	if n := asked.Load() - before; n != 0 {
		t.Errorf("%d questions about the cluster's names, or of an internal network, left the node", n)
	}
	z := testZone()
	z.Askers[0].Resolvers = []netip.AddrPort{own}
	s.Set(z)
	if got := text(ask(s, a1, "example.com.", dns.TypeA)); got != "192.0.2.99" {
		t.Errorf("resolver of the container's own: got %s", got)
	}
	if got := text(ask(testServer(t, broken, mute), a1, "example.com.", dns.TypeA)); got != "SERVFAIL" {
		t.Errorf("no good resolver: got %s", got)
	}
}

func TestForwardsLargeAnswers(t *testing.T) {
	var many []string
	for i := range 60 {
		many = append(many, fmt.Sprintf("192.0.2.%d", i))
	}
	up := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			m := new(dns.Msg).SetReply(q)
			m.Truncated = true
			_ = w.WriteMsg(m)
			return
		}
		answerWith(many...)(w, q)
	})
	s := testServer(t, up)
	small := new(dns.Msg).SetQuestion("big.example.", dns.TypeA)
	if reply := s.answer(context.Background(), a1, small, false); !reply.Truncated {
		t.Errorf("a small buffer got %d answers, not cut", len(reply.Answer))
	}
	large := new(dns.Msg).SetQuestion("big.example.", dns.TypeA)
	large.SetEdns0(4096, false)
	if reply := s.answer(context.Background(), a1, large, false); reply.Truncated || len(reply.Answer) != 60 {
		t.Errorf("a large buffer: truncated %v, %d answers", reply.Truncated, len(reply.Answer))
	}
	if reply := s.answer(context.Background(), a1, small, true); reply.Truncated || len(reply.Answer) != 60 {
		t.Errorf("TCP: truncated %v, %d answers", reply.Truncated, len(reply.Answer))
	}
}

func TestOverloadFailsAtOnce(t *testing.T) {
	block := make(chan struct{})
	entered := make(chan struct{}, 16)
	up := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) { entered <- struct{}{}; <-block; answerWith("192.0.2.1")(w, q) })
	s := testServer(t, up)
	s.cfg.Timeout = 10 * time.Second
	done := make(chan string, 16)
	slow := func(from netip.Addr) {
		go func() { done <- text(ask(s, from, "slow.example.", dns.TypeA)) }()
		<-entered
	}
	for range 2 { // an eighth of MaxAsking
		slow(a1)
	}
	if got := text(ask(s, a1, "more.example.", dns.TypeA)); got != "SERVFAIL" {
		t.Errorf("one more than one asker is allowed: %s", got)
	}
	for i := range 14 {
		slow(netip.AddrFrom4([4]byte{10, 208, 1, byte(i)}))
	}
	if got := text(ask(s, a2, "more.example.", dns.TypeA)); got != "SERVFAIL" {
		t.Errorf("one more than all are allowed: %s", got)
	}
	if got := text(ask(s, a1, "web.", dns.TypeA)); got != "10.208.0.11" {
		t.Errorf("the cluster's own name: %s", got)
	}
	close(block)
	for range 16 {
		if got := <-done; got != "192.0.2.1" {
			t.Errorf("a slow answer: %s", got)
		}
	}
}

func TestUpstreams(t *testing.T) {
	got := Upstreams([]byte("# x\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver  2001:db8::1 # c\nnameserver nonsense\nnameserver\nsearch lan\noptions ndots:2\n"))
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[2001:db8::1]:53")}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for in, want := range map[string]string{"8.8.8.8": "8.8.8.8:53", "8.8.8.8:5353": "8.8.8.8:5353", "::1": "[::1]:53", "dns.example": ""} {
		got, err := ParseResolver(in)
		if want == "" && err == nil || want != "" && (err != nil || got.String() != want) {
			t.Errorf("%q: got %v, %v", in, got, err)
		}
	}
}

func TestListen(t *testing.T) {
	port := freePort(t)
	s, err := Listen(Config{Addr: port, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	z := Zone{
		Networks: []Network{{Name: "lo", Subnet: netip.MustParsePrefix("127.0.0.0/8")}},
		Records:  []Record{{Network: "lo", Name: "web", Addrs: []netip.Addr{a1}}},
	}
	s.Set(z)
	for _, proto := range []string{"udp", "tcp"} {
		reply, _, err := (&dns.Client{Net: proto, Timeout: 2 * time.Second}).Exchange(new(dns.Msg).SetQuestion("web.", dns.TypeA), port.String())
		if err != nil || text(reply) != "10.208.0.1" {
			t.Errorf("%s: %v, %v", proto, reply, err)
		}
	}
	if _, err := Listen(Config{Addr: port, Log: discard}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second server on one address: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestConnectionsAreLimited(t *testing.T) {
	port := freePort(t)
	s, err := Listen(Config{Addr: port, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Set(Zone{Networks: []Network{{Name: "lo", Subnet: netip.MustParsePrefix("127.0.0.0/8")}}, Hosts: map[string]netip.Addr{"host": a1}})
	ask := func(c net.Conn) error {
		conn := &dns.Conn{Conn: c}
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		if err := conn.WriteMsg(new(dns.Msg).SetQuestion("host.", dns.TypeA)); err != nil {
			return err
		}
		_, err := conn.ReadMsg()
		return err
	}
	var conns []net.Conn
	for i := range maxConnsEach {
		c, err := net.Dial("tcp4", port.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := ask(c); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns = append(conns, c)
	}
	more, err := net.Dial("tcp4", port.String())
	if err != nil {
		t.Fatal(err)
	}
	defer more.Close()
	if err := ask(more); err == nil {
		t.Error("one connection more than allowed was served")
	}
	other, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}).Dial("tcp4", port.String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := ask(other); err != nil {
		t.Errorf("another asker: %v", err)
	}
	conns[0].Close()
	for deadline := time.Now().Add(5 * time.Second); ; {
		c, err := net.Dial("tcp4", port.String())
		if err == nil {
			err = ask(c)
			c.Close()
		}
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after one was closed: %v", err)
		}
	}
}
