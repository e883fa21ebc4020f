package dns

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

var discard = slog.New(slog.DiscardHandler)

// Whatever a replica sends, the reply is its own, fits, and is one that parses.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"web.", "1.0.208.10.in-addr.arpa.", "example.com.", ".", "a..b."} {
		m := new(dns.Msg).SetQuestion(name, dns.TypeA)
		m.SetEdns0(600, true)
		if b, err := m.Pack(); err == nil {
			f.Add(b, false)
			f.Add(b[:len(b)-3], true)
		}
	}
	f.Add([]byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, false)
	s := testServer(f)
	f.Fuzz(func(t *testing.T, packet []byte, tcp bool) {
		query := new(dns.Msg)
		if query.Unpack(packet) != nil {
			return
		}
		for _, from := range []netip.Addr{a1, c1, {}} {
			reply := s.answer(context.Background(), from, query, tcp)
			packed, err := reply.Pack()
			if err != nil {
				t.Fatalf("reply does not pack: %v\n%v", err, reply)
			}
			if !tcp && len(packed) > maxUDP {
				t.Errorf("%d bytes by UDP", len(packed))
			}
			if reply.Id != query.Id || !reply.Response {
				t.Errorf("id %d response %v, want %d, true", reply.Id, reply.Response, query.Id)
			}
			if err := new(dns.Msg).Unpack(packed); err != nil {
				t.Errorf("reply does not unpack: %v", err)
			}
		}
	})
}

func FuzzUpstreams(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, u := range Upstreams(file) {
			if !u.IsValid() || u.Port() != 53 {
				t.Errorf("%v", u)
			}
		}
	})
}
