// Package ipam chooses subnets and addresses. It is pure: who has what is the caller's to know. It imports only the
// standard library.
package ipam

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Pool is where subnets come from by default, and SubnetBits the size of each: 256 networks of 4094 addresses.
var Pool = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 208, 0, 0}), 12)

// SubnetBits is the prefix length of an allotted subnet.
const SubnetBits = 20

// ErrFull means that nothing is left to allot.
var ErrFull = errors.New("address space is used up")

// AllotSubnet returns the lowest /SubnetBits of pool that overlaps none of used. ErrFull when there is none; another
// error when pool is no IPv4 prefix that holds a subnet.
func AllotSubnet(pool netip.Prefix, used []netip.Prefix) (netip.Prefix, error) {
	if !pool.IsValid() || !pool.Addr().Is4() || pool.Bits() > SubnetBits {
		return netip.Prefix{}, fmt.Errorf("allot subnet: %s is no IPv4 prefix of at most /%d", pool, SubnetBits)
	}
	first, last := bounds(pool.Masked())
	const size = 1 << (32 - SubnetBits)
	for at := uint64(first); at <= uint64(last); at += size {
		candidate := netip.PrefixFrom(addr(uint32(at)), SubnetBits)
		taken, free := overlapping(candidate, used)
		if free {
			return candidate, nil
		}
		if _, end := bounds(taken.Masked()); uint64(end) > at+size {
			at = uint64(end) + 1 - size // the end of a large used prefix; both are aligned
		}
	}
	return netip.Prefix{}, fmt.Errorf("allot subnet of %s: %w", pool, ErrFull)
}

func overlapping(candidate netip.Prefix, used []netip.Prefix) (taken netip.Prefix, free bool) {
	for _, u := range used {
		if u.IsValid() && u.Overlaps(candidate) {
			return u, false
		}
	}
	return netip.Prefix{}, true
}

// AllotAddr returns a free address of subnet for a replica: the first one from hint on, upwards and round, so that with
// the last given address as hint an address rests before it is used again. An invalid hint, or one outside subnet, is
// the low end. The first and last address of subnet are never given. ErrFull when all are used.
func AllotAddr(subnet netip.Prefix, used func(netip.Addr) bool, hint netip.Addr) (netip.Addr, error) {
	first, last, err := usable(subnet)
	if err != nil {
		return netip.Addr{}, err
	}
	start := first
	if hint.Is4() {
		if h := number(hint); h >= first && h <= last {
			start = h
		}
	}
	for i, n := uint32(0), last-first+1; i < n; i++ {
		if a := addr(first + (start-first+i)%n); !used(a) {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("allot address of %s: %w", subnet, ErrFull)
}

// AllotVIP returns the highest free address of subnet: services grow downwards, towards the replicas. ErrFull when all
// are used.
func AllotVIP(subnet netip.Prefix, used func(netip.Addr) bool) (netip.Addr, error) {
	first, last, err := usable(subnet)
	if err != nil {
		return netip.Addr{}, err
	}
	for at := last; at >= first; at-- {
		if a := addr(at); !used(a) {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("allot service address of %s: %w", subnet, ErrFull)
}

// usable returns the lowest and highest address of subnet that may be given.
func usable(subnet netip.Prefix) (first, last uint32, err error) {
	if !subnet.IsValid() || !subnet.Addr().Is4() || subnet.Bits() > 30 {
		return 0, 0, fmt.Errorf("allot address: %s is no IPv4 subnet of at least 4 addresses", subnet)
	}
	first, last = bounds(subnet.Masked())
	return first + 1, last - 1, nil
}

func bounds(p netip.Prefix) (first, last uint32) {
	first = number(p.Addr())
	return first, first | uint32(1<<(32-p.Bits())-1)
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addr(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
