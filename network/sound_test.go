package network

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast/holdfast"
)

func TestSoundLeavesOutWhatIsWrong(t *testing.T) {
	prefix, addr, target := netip.MustParsePrefix, netip.MustParseAddr, netip.MustParseAddrPort
	front := Net{Name: "front", Subnet: prefix("10.208.0.0/20")}
	good := Table{
		Networks:  []Net{front},
		Endpoints: []Peer{{Replica: "r", Addrs: map[string]netip.Addr{"front": addr("10.208.0.1")}}},
		Services:  []Service{{App: "app", Name: "web", Networks: []ServiceNet{on("front", "10.208.0.9")}}},
		HostPorts: []HostPort{{Protocol: "tcp", Port: 80, To: []netip.AddrPort{target("10.208.0.1:80")}}},
	}
	for what, c := range map[string]struct {
		spoil func(*Table)
		kind  error
	}{
		"nothing":   {func(*Table) {}, nil},
		"overlap":   {func(t *Table) { t.Networks = append(t.Networks, Net{Name: "x", Subnet: prefix("10.208.8.0/24")}) }, holdfast.ErrInvalid},
		"same name": {func(t *Table) { t.Networks = append(t.Networks, Net{Name: "front", Subnet: prefix("10.1.0.0/24")}) }, holdfast.ErrInvalid},
		"no subnet": {func(t *Table) { t.Networks = append(t.Networks, Net{Name: "x"}) }, holdfast.ErrInvalid},
		"IPv6":      {func(t *Table) { t.Networks = append(t.Networks, Net{Name: "x", Subnet: prefix("fd00::/64")}) }, holdfast.ErrInvalid},
		"unknown network": {func(t *Table) {
			t.Endpoints[0].Addrs = map[string]netip.Addr{"front": addr("10.208.0.1"), "x": addr("10.9.0.1")}
		}, holdfast.ErrInvalid},
		"invalid address": {func(t *Table) { t.Endpoints[0].Addrs = map[string]netip.Addr{"front": addr("10.208.0.1"), "x": {}} }, holdfast.ErrInvalid},
		"VIP outside":     {func(t *Table) { t.Services[0].Networks = append(t.Services[0].Networks, on("front", "10.9.0.1")) }, holdfast.ErrInvalid},
		"service nowhere": {func(t *Table) { t.Services[0].Networks = append(t.Services[0].Networks, ServiceNet{Network: "x"}) }, holdfast.ErrInvalid},
		"port 0":          {func(t *Table) { t.HostPorts = append(t.HostPorts, HostPort{Protocol: "tcp"}) }, holdfast.ErrInvalid},
		"sctp":            {func(t *Table) { t.HostPorts = append(t.HostPorts, HostPort{Protocol: "sctp", Port: 1}) }, holdfast.ErrInvalid},
		"IPv6 host": {func(t *Table) {
			t.HostPorts = append(t.HostPorts, HostPort{HostIP: netip.IPv6Loopback(), Protocol: "tcp", Port: 1})
		}, holdfast.ErrUnsupported},
		"target port 0": {func(t *Table) { t.HostPorts[0].To = []netip.AddrPort{target("10.208.0.1:80"), target("10.208.0.1:0")} }, holdfast.ErrInvalid},
		"split host port": {func(t *Table) {
			t.HostPorts = []HostPort{{HostIP: netip.IPv4Unspecified(), Protocol: "tcp", Port: 80}, good.HostPorts[0]}
		}, nil},
	} {
		bad := Table{
			Networks: append([]Net{}, good.Networks...), Endpoints: append([]Peer{}, good.Endpoints...),
			Services: append([]Service{}, good.Services...), HostPorts: append([]HostPort{}, good.HostPorts...),
		}
		c.spoil(&bad)
		got, err := sound(bad)
		if !errors.Is(err, c.kind) || c.kind == nil && err != nil {
			t.Errorf("%s: error %v", what, err)
		}
		same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
		if d := cmp.Diff(good, got, same, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
}

// The mistake of one app is not another's.
func TestApplyGoesOnBesideAMistake(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	a := n.replica("a", 1, "front=10.208.0.1")
	n.replica("b", 1, "front=10.208.0.2").echo("b", 80)
	n.net("z-clash", "10.208.0.0/16", false)
	if err := n.Apply(t.Context(), n.table); !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("apply: %v", err)
	}
	reaches(t, a, "10.208.0.2:80", "b", "10.208.0.1")
}
