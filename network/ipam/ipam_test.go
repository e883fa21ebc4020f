package ipam

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestAllotSubnet(t *testing.T) {
	p := netip.MustParsePrefix
	for _, c := range []struct {
		pool string
		used []netip.Prefix
		want string // "" is full
	}{
		{"10.208.0.0/12", nil, "10.208.0.0/20"},
		{"10.208.0.0/12", []netip.Prefix{p("10.208.0.0/20")}, "10.208.16.0/20"},
		{"10.208.0.0/12", []netip.Prefix{p("10.208.16.0/20")}, "10.208.0.0/20"},
		{"10.208.0.0/12", []netip.Prefix{p("10.208.0.128/25"), p("10.208.17.0/24")}, "10.208.32.0/20"},
		{"10.208.0.0/12", []netip.Prefix{p("10.208.0.0/13")}, "10.216.0.0/20"},
		{"10.208.0.0/12", []netip.Prefix{p("10.0.0.0/8")}, ""},
		{"10.208.0.0/20", []netip.Prefix{p("10.208.0.0/20")}, ""},
		{"255.255.224.0/19", []netip.Prefix{p("255.255.224.0/20")}, "255.255.240.0/20"},
		{"255.255.240.0/20", []netip.Prefix{p("255.255.255.255/32")}, ""},
	} {
		got, err := AllotSubnet(p(c.pool), c.used)
		if c.want == "" {
			if !errors.Is(err, ErrFull) {
				t.Errorf("%s without %v: got %v, %v, want full", c.pool, c.used, got, err)
			}
		} else if err != nil || got != p(c.want) {
			t.Errorf("%s without %v: got %v, %v, want %s", c.pool, c.used, got, err, c.want)
		}
	}
	for _, pool := range []netip.Prefix{{}, p("fd00::/16"), p("10.0.0.0/21")} {
		if _, err := AllotSubnet(pool, nil); err == nil || errors.Is(err, ErrFull) {
			t.Errorf("pool %v: %v", pool, err)
		}
	}
}

func TestAllotAddr(t *testing.T) {
	subnet := netip.MustParsePrefix("10.0.0.0/29") // .1 to .6
	for _, c := range []struct {
		used []string
		hint string
		want string
	}{
		{nil, "", "10.0.0.1"},
		{[]string{"10.0.0.1"}, "", "10.0.0.2"},
		{nil, "10.0.0.4", "10.0.0.4"},
		{[]string{"10.0.0.5", "10.0.0.6"}, "10.0.0.5", "10.0.0.1"}, // round
		{nil, "10.0.0.7", "10.0.0.1"},                              // broadcast
		{nil, "192.0.2.1", "10.0.0.1"},
		{[]string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}, "10.0.0.3", ""},
	} {
		used := usedOf(c.used)
		var hint netip.Addr
		if c.hint != "" {
			hint = netip.MustParseAddr(c.hint)
		}
		got, err := AllotAddr(subnet, used, hint)
		if c.want == "" {
			if !errors.Is(err, ErrFull) {
				t.Errorf("used %v: %v, %v", c.used, got, err)
			}
		} else if err != nil || got.String() != c.want {
			t.Errorf("used %v, from %q: got %v, %v, want %s", c.used, c.hint, got, err, c.want)
		}
	}
	if got, err := AllotVIP(subnet, usedOf([]string{"10.0.0.6"})); err != nil || got.String() != "10.0.0.5" {
		t.Errorf("service address: %v, %v", got, err)
	}
	if _, err := AllotVIP(subnet, func(netip.Addr) bool { return true }); !errors.Is(err, ErrFull) {
		t.Errorf("full: %v", err)
	}
}

func usedOf(addrs []string) func(netip.Addr) bool {
	set := map[string]bool{}
	for _, a := range addrs {
		set[a] = true
	}
	return func(a netip.Addr) bool { return set[a.String()] }
}

// Replicas and services fill a subnet without ever getting one address twice, nor one that is not usable.
func TestAllotFillsTheSubnet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	subnet := netip.MustParsePrefix("10.208.16.0/24")
	taken := map[netip.Addr]bool{}
	used := func(a netip.Addr) bool { return taken[a] }
	var last netip.Addr
	for range 254 {
		var a netip.Addr
		var err error
		if rng.IntN(4) == 0 {
			a, err = AllotVIP(subnet, used)
		} else {
			a, err = AllotAddr(subnet, used, last)
			last = a
		}
		if err != nil || taken[a] || !subnet.Contains(a) || a.As4()[3] == 0 || a.As4()[3] == 255 {
			t.Fatalf("got %v, %v", a, err)
		}
		taken[a] = true
	}
	if a, err := AllotAddr(subnet, used, last); !errors.Is(err, ErrFull) {
		t.Errorf("full subnet gave %v, %v", a, err)
	}
}
