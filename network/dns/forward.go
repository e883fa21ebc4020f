package dns

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// forward asks the resolvers of a, who asks from an address, in turn until one answers. SERVFAIL when none does.
func (s *Server) forward(ctx context.Context, from netip.Addr, a *asker, query *dns.Msg, tcp bool) *dns.Msg {
	if !s.asking.enter(from) {
		return fail(query, dns.RcodeServerFailure)
	}
	defer s.asking.leave(from)
	resolvers := a.resolvers
	if len(resolvers) == 0 {
		resolvers = s.cfg.Upstreams
	}
	var refused *dns.Msg
	for _, r := range resolvers {
		if r == s.cfg.Addr {
			continue // ourselves
		}
		reply, err := s.exchange(ctx, r, query, tcp)
		if err != nil {
			s.cfg.Log.Debug("ask resolver", "resolver", r, "error", err)
			continue
		}
		if reply.Rcode != dns.RcodeServerFailure && reply.Rcode != dns.RcodeRefused {
			return reply
		}
		refused = reply
	}
	if refused != nil {
		return refused
	}
	return fail(query, dns.RcodeServerFailure)
}

// exchange asks one resolver, by the asker's transport, and by TCP when the answer does not fit UDP though the asker
// takes it.
func (s *Server) exchange(ctx context.Context, resolver netip.AddrPort, query *dns.Msg, tcp bool) (*dns.Msg, error) {
	ask := query.Copy()
	ask.Id = dns.Id()
	client := &dns.Client{Net: "udp", Timeout: s.cfg.Timeout, UDPSize: dns.DefaultMsgSize}
	if tcp {
		client.Net = "tcp"
	}
	reply, err := s.roundTrip(ctx, client, ask, resolver)
	if err == nil && reply.Truncated && !tcp && takesMore(query, reply) {
		client.Net = "tcp"
		if whole, err := s.roundTrip(ctx, client, ask, resolver); err == nil {
			return whole, nil
		}
	}
	return reply, err
}

func (s *Server) roundTrip(ctx context.Context, client *dns.Client, ask *dns.Msg, resolver netip.AddrPort) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	reply, _, err := client.ExchangeContext(ctx, ask, resolver.String())
	if err != nil {
		return nil, err
	}
	if len(reply.Question) != 1 || !sameQuestion(reply.Question[0], ask.Question[0]) {
		return nil, dns.ErrId // an answer to something else: forged, or late
	}
	return reply, nil
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

// takesMore reports whether the asker's buffer is larger than what the truncated reply may have been cut to.
func takesMore(query, reply *dns.Msg) bool {
	edns := query.IsEdns0()
	return edns != nil && int(edns.UDPSize()) > max(dns.MinMsgSize, reply.Len())
}

// Upstreams returns the resolvers that a resolv.conf file names, in order. Lines that are not understood, and IPv6
// link-local addresses, are left out, as the C library does.
func Upstreams(resolvConf []byte) []netip.AddrPort {
	var out []netip.AddrPort
	lines := bufio.NewScanner(bytes.NewReader(resolvConf))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil && addr.Zone() == "" {
			out = append(out, netip.AddrPortFrom(addr.Unmap(), 53))
		}
	}
	return out
}

// ParseResolver reads one entry of a container's DNS servers: an address, with or without a port.
func ParseResolver(s string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.AddrPort{}, &net.ParseError{Type: "DNS server", Text: s}
	}
	return netip.AddrPortFrom(addr, 53), nil
}
