package dns

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// answer returns the reply to query from the replica at from. It fits the transport: cut short, and marked so, when
// the asker's UDP buffer is too small.
func (s *Server) answer(ctx context.Context, from netip.Addr, query *dns.Msg, tcp bool) *dns.Msg {
	reply := s.resolve(ctx, from, query, tcp)
	reply.Id = query.Id
	reply.Compress = true
	fit(reply, query, tcp)
	return reply
}

func (s *Server) resolve(ctx context.Context, from netip.Addr, query *dns.Msg, tcp bool) *dns.Msg {
	if query.Opcode != dns.OpcodeQuery || len(query.Question) != 1 {
		return fail(query, dns.RcodeNotImplemented)
	}
	index := s.index.Load()
	a := index.asker(from)
	if a == nil {
		return fail(query, dns.RcodeRefused)
	}
	q := query.Question[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	if q.Qclass == dns.ClassINET || q.Qclass == dns.ClassANY {
		if reply := index.answer(a, query, name); reply != nil {
			return reply
		}
	}
	if a.isolated {
		return negative(query, dns.RcodeNameError)
	}
	return s.forward(ctx, from, a, query, tcp)
}

// answer returns the reply to a question that the zone answers, or nil.
func (x *index) answer(a *asker, query *dns.Msg, name string) *dns.Msg {
	if addr, ok := reverse(name); ok {
		return x.answerPointer(a, query, addr)
	}
	addrs, visible, known := x.lookup(a, name)
	if !known {
		return nil
	}
	if !visible {
		return negative(query, dns.RcodeNameError)
	}
	q := query.Question[0]
	if q.Qtype != dns.TypeA && q.Qtype != dns.TypeANY || len(addrs) == 0 {
		return negative(query, dns.RcodeSuccess) // the name is there; such a record is not
	}
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative, reply.RecursionAvailable = true, true
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	for _, addr := range addrs {
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header(q.Name, dns.TypeA), A: addr.AsSlice()})
	}
	return reply
}

func (x *index) answerPointer(a *asker, query *dns.Msg, addr netip.Addr) *dns.Msg {
	name, ours := x.pointer(a, addr)
	if !ours {
		return nil
	}
	if name == "" {
		return negative(query, dns.RcodeNameError)
	}
	q := query.Question[0]
	if q.Qtype != dns.TypePTR && q.Qtype != dns.TypeANY {
		return negative(query, dns.RcodeSuccess)
	}
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative, reply.RecursionAvailable = true, true
	reply.Answer = []dns.RR{&dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: dns.Fqdn(name)}}
	return reply
}

// header has TTL 0: the next question gets the next truth.
func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: 0}
}

// negative says that there is no such name, or with RcodeSuccess no such record, and that this is not to be cached.
func negative(query *dns.Msg, rcode int) *dns.Msg {
	reply := new(dns.Msg).SetRcode(query, rcode)
	reply.Authoritative, reply.RecursionAvailable = true, true
	reply.Ns = []dns.RR{&dns.SOA{
		Hdr: header(query.Question[0].Name, dns.TypeSOA),
		Ns:  "dns.holdfast.internal.", Mbox: "root.holdfast.internal.",
		Serial: 1, Refresh: 60, Retry: 10, Expire: 60, Minttl: 0,
	}}
	return reply
}

func fail(query *dns.Msg, rcode int) *dns.Msg {
	reply := new(dns.Msg).SetRcode(query, rcode)
	reply.RecursionAvailable = true
	return reply
}

// maxUDP is the largest answer by UDP, whatever the asker says it takes: links to replicas carry it unbroken.
const maxUDP = 1400

// fit cuts reply to what the asker takes and adds the EDNS record that the asker's calls for.
func fit(reply, query *dns.Msg, tcp bool) {
	size := dns.MaxMsgSize
	edns := query.IsEdns0()
	if !tcp {
		size = dns.MinMsgSize
		if edns != nil {
			size = min(max(size, int(edns.UDPSize())), maxUDP)
		}
	}
	if edns != nil && reply.IsEdns0() == nil {
		reply.SetEdns0(maxUDP, false)
	}
	reply.Truncate(size)
}

// reverse returns the address that a name under in-addr.arpa stands for.
func reverse(name string) (netip.Addr, bool) {
	rest, ok := strings.CutSuffix(name, ".in-addr.arpa")
	if !ok {
		return netip.Addr{}, false
	}
	labels := strings.Split(rest, ".")
	if len(labels) != 4 {
		return netip.Addr{}, false
	}
	labels[0], labels[1], labels[2], labels[3] = labels[3], labels[2], labels[1], labels[0]
	addr, err := netip.ParseAddr(strings.Join(labels, "."))
	return addr, err == nil
}
