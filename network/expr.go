package network

import (
	"net/netip"
	"slices"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The words that rules are made of. A key of several fields is loaded into consecutive 32-bit registers; firstReg is
// the name of the first of them that every instruction takes.
const firstReg = unix.NFT_REG_1

// reg returns the register of field i of a key of 4-byte fields.
func reg(i int) uint32 {
	if i == 0 {
		return firstReg
	}
	return unix.NFT_REG32_00 + uint32(i)
}

// load is one field of a key: it puts its value into register r.
type load func(r uint32) expr.Any

func saddr(r uint32) expr.Any {
	return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
}

func daddr(r uint32) expr.Any {
	return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
}

func dport(r uint32) expr.Any {
	return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}

func l4proto(r uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: r} }

// oneOf is a random number below n, of the machine's byte order.
func oneOf(n int) load {
	return func(r uint32) expr.Any {
		return &expr.Numgen{Register: r, Modulus: uint32(n), Type: unix.NFT_NG_RANDOM}
	}
}

func key(fields ...load) []expr.Any {
	out := make([]expr.Any, len(fields))
	for i, f := range fields {
		out[i] = f(reg(i))
	}
	return out
}

// in matches when the key is in the set.
func in(set string, fields ...load) []expr.Any {
	return append(key(fields...), &expr.Lookup{SourceRegister: firstReg, SetName: set})
}

// notIn matches when the key is not in the set.
func notIn(set string, fields ...load) []expr.Any {
	return append(key(fields...), &expr.Lookup{SourceRegister: firstReg, SetName: set, Invert: true})
}

// verdictOf ends the rule with what the map says of the key, if anything.
func verdictOf(set string, fields ...load) []expr.Any {
	return append(key(fields...), &expr.Lookup{SourceRegister: firstReg, SetName: set, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true})
}

func eq(l load, data []byte) []expr.Any {
	return []expr.Any{l(firstReg), &expr.Cmp{Op: expr.CmpOpEq, Register: firstReg, Data: data}}
}

func neq(l load, data []byte) []expr.Any {
	return []expr.Any{l(firstReg), &expr.Cmp{Op: expr.CmpOpNeq, Register: firstReg, Data: data}}
}

func iifname(r uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: r} }
func oifname(r uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyOIFNAME, Register: r} }

func isAddr(l load, a netip.Addr) []expr.Any { return eq(l, a.AsSlice()) }

// isLoopback matches 127.0.0.0/8.
func isLoopback(l load) []expr.Any {
	return []expr.Any{
		l(firstReg),
		&expr.Bitwise{SourceRegister: firstReg, DestRegister: firstReg, Len: 4, Mask: []byte{0xff, 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: firstReg, Data: []byte{127, 0, 0, 0}},
	}
}

// isLocal matches what is sent to an address of the node.
func isLocal() []expr.Any {
	return eq(func(r uint32) expr.Any { return &expr.Fib{Register: r, ResultADDRTYPE: true, FlagDADDR: true} },
		binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL))
}

// isSpoofed matches a source address that is not routed to the interface the packet came in by.
func isSpoofed() []expr.Any {
	return eq(func(r uint32) expr.Any {
		return &expr.Fib{Register: r, ResultOIF: true, FlagSADDR: true, FlagIIF: true}
	},
		make([]byte, 4))
}

func isProto(proto byte) []expr.Any { return eq(l4proto, []byte{proto}) }

func isPort(port uint16) []expr.Any { return eq(dport, binaryutil.BigEndian.PutUint16(port)) }

// isPortUnreachable matches the ICMP message about a UDP packet to port, which it holds after its own header and that
// packet's IP header.
func isPortUnreachable(port uint16) []expr.Any {
	at := func(offset uint32) load {
		return func(r uint32) expr.Any {
			return &expr.Payload{DestRegister: r, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
		}
	}
	typeAndCode, portIn := []byte{3, 3}, binaryutil.BigEndian.PutUint16(port)
	return slices.Concat(isProto(unix.IPPROTO_ICMP), eq(at(0), typeAndCode), eq(at(8+20+2), portIn))
}

// ctHas matches when the connection's word k has one of bits.
func ctHas(k expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: firstReg, Key: k},
		&expr.Bitwise{SourceRegister: firstReg, DestRegister: firstReg, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: firstReg, Data: make([]byte, 4)},
	}
}

const ipsDstNAT = 1 << 5 // IPS_DST_NAT of the kernel

func isKnown() []expr.Any {
	return ctHas(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}
func isInvalid() []expr.Any    { return ctHas(expr.CtKeySTATE, expr.CtStateBitINVALID) }
func isRedirected() []expr.Any { return ctHas(expr.CtKeySTATUS, ipsDstNAT) }

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() []expr.Any   { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

func jump(chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

// refuse answers "administratively prohibited", so that clients fail at once.
func refuse() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 13}}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

func snatTo(a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: firstReg, Data: a.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: firstReg},
	}
}

// dnatToAddr redirects the flow to one address and port.
func dnatToAddr(to netip.AddrPort) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: reg(0), Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: reg(1), Data: binaryutil.BigEndian.PutUint16(to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg(0), RegProtoMin: reg(1), Specified: true},
	}
}

// dnatTo redirects the flow to what the map has for the key: an address, or an address and a port.
func dnatTo(set string, withPort bool, fields ...load) []expr.Any {
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg(0)}
	if withPort {
		nat.RegProtoMin, nat.Specified = reg(1), true
	}
	lookup := &expr.Lookup{SourceRegister: firstReg, SetName: set, DestRegister: firstReg, IsDestRegSet: true}
	return append(key(fields...), lookup, nat)
}
