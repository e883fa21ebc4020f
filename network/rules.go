package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// schema names the shape of the table. A table of another shape is replaced, elements and all, in one transaction:
// raise the number with every change of chains, rules or sets.
func schema(dnsPort uint16) string { return fmt.Sprintf("schema_2_dns_%d", dnsPort) }

// Names of sets.
const (
	setSubnets = "subnets" // of all networks
	setOpen    = "open"    // of networks that are not internal
	setPeers   = "peers"   // subnet . subnet of each network: who may talk
	setSelf    = "self"    // address . address of each local replica: flows that come back to their sender
)

// sets of the table, without those of the balancers.
var plainSets = []nftables.Set{
	{Name: setSubnets, KeyType: nftables.TypeIPAddr, Interval: true},
	{Name: setOpen, KeyType: nftables.TypeIPAddr, Interval: true},
	{Name: setPeers, KeyType: concat(nftables.TypeIPAddr, nftables.TypeIPAddr), Concatenation: true, Interval: true},
	{Name: setSelf, KeyType: concat(nftables.TypeIPAddr, nftables.TypeIPAddr), Concatenation: true},
}

// balancer spreads flows over targets. A flow's key is looked up in the map Name, which leads to the chain for as many
// targets as the key has; that chain draws a number and takes the target from the map Name_to. So a change of targets
// is a change of elements, and rules are added only for a number of targets that was never seen before.
type balancer struct {
	name     string
	keys     []nftables.SetDatatype
	fields   []load
	withPort bool
}

var (
	vips      = balancer{"vip", []nftables.SetDatatype{nftables.TypeIPAddr}, []load{daddr}, false}
	anyPorts  = balancer{"port", []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}, []load{l4proto, dport}, true}
	addrPorts = balancer{
		"addrport",
		[]nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService},
		[]load{daddr, l4proto, dport},
		true,
	}
	balancers = []balancer{vips, anyPorts, addrPorts}
)

func (b balancer) targets() string { return b.name + "_to" }

func (b balancer) sets() []nftables.Set {
	data := nftables.TypeIPAddr
	if b.withPort {
		data = concat(nftables.TypeIPAddr, nftables.TypeInetService)
	}
	return []nftables.Set{
		{Name: b.name, IsMap: true, KeyType: concat(b.keys...), DataType: nftables.TypeVerdict, Concatenation: len(b.keys) > 1},
		{Name: b.targets(), IsMap: true, KeyType: concat(append(slices.Clone(b.keys), nftables.TypeMark)...), DataType: data, Concatenation: true},
	}
}

// rules are those of the chain for n targets. The second one serves the packet that found this chain just before a
// change took its target away: target 0 is there as long as any is.
func (b balancer) rules(n int) [][]expr.Any {
	return [][]expr.Any{
		dnatTo(b.targets(), b.withPort, append(slices.Clone(b.fields), oneOf(n))...),
		dnatTo(b.targets(), b.withPort, append(slices.Clone(b.fields), oneOf(1))...),
	}
}

func concat(types ...nftables.SetDatatype) nftables.SetDatatype {
	if len(types) == 1 {
		return types[0]
	}
	return nftables.MustConcatSetType(types...)
}

func allSets() []nftables.Set {
	sets := slices.Clone(plainSets)
	for _, b := range balancers {
		sets = append(sets, b.sets()...)
	}
	return sets
}

// chain is one static chain and its rules.
type chain struct {
	name     string
	kind     nftables.ChainType // "" for one that is jumped to
	hook     *nftables.ChainHook
	priority int32
	rules    [][]expr.Any
}

func rule(parts ...[]expr.Any) []expr.Any { return slices.Concat(parts...) }

// staticChains are all chains but the balancers'. Prefix is that of the veths' names, dnsPort where our DNS server
// listens on Gateway: replicas ask port 53 in any case.
func staticChains(prefix string, dnsPort uint16) []chain {
	fromReplica, toReplica := eq(iifname, []byte(prefix)), eq(oifname, []byte(prefix))
	notFromReplica, toElsewhere := neq(iifname, []byte(prefix)), neq(oifname, []byte(prefix))
	notLo := neq(iifname, []byte("lo\x00"))
	return []chain{
		{name: schema(dnsPort)},
		{name: "raw", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookPrerouting, priority: -300, rules: [][]expr.Any{
			rule(fromReplica, isSpoofed(), drop()),
			rule(fromReplica, isLoopback(daddr), drop()),
			rule(notFromReplica, notLo, in(setSubnets, saddr), drop()),
		}},
		{name: "dstnat", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPrerouting, priority: -100, rules: [][]expr.Any{
			rule(fromReplica, isAddr(daddr, Gateway), isPort(53), dnatToAddr(netip.AddrPortFrom(Gateway, dnsPort))),
			rule(in(setPeers, saddr, daddr), verdictOf(vips.name, daddr)),
			rule(isLocal(), jump("published")),
		}},
		{name: "output", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookOutput, priority: -100, rules: [][]expr.Any{
			rule(isLocal(), jump("published")),
		}},
		{name: "published", rules: [][]expr.Any{
			rule(verdictOf(addrPorts.name, addrPorts.fields...)),
			rule(verdictOf(anyPorts.name, anyPorts.fields...)),
		}},
		{name: "forward", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookForward, priority: 0, rules: [][]expr.Any{
			rule(fromReplica, jump("judge")),
			rule(toReplica, jump("judge")),
		}},
		{name: "judge", rules: [][]expr.Any{
			rule(isKnown(), accept()),
			rule(isInvalid(), drop()),
			rule(in(setPeers, saddr, daddr), accept()),
			rule(isRedirected(), accept()), // to a published port, as service addresses are for peers only
			rule(toReplica, refuse()),
			rule(in(setOpen, saddr), accept()),
			rule(refuse()),
		}},
		{name: "input", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookInput, priority: 0, rules: [][]expr.Any{
			rule(fromReplica, jump("node")),
		}},
		{name: "node", rules: [][]expr.Any{
			rule(isKnown(), accept()),
			rule(isAddr(daddr, Gateway), isProto(unix.IPPROTO_UDP), isPort(dnsPort), accept()),
			rule(isAddr(daddr, Gateway), isProto(unix.IPPROTO_TCP), isPort(dnsPort), accept()),
			rule(isProto(unix.IPPROTO_ICMP), accept()),
			rule(in(setOpen, saddr), accept()),
			rule(refuse()),
		}},
		{name: "reply", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookOutput, priority: 0, rules: [][]expr.Any{
			// While the agent restarts nobody listens: silence, which resolvers outwait, and not "port unreachable".
			rule(toReplica, isAddr(saddr, Gateway), isPortUnreachable(dnsPort), drop()),
		}},
		{name: "srcnat", kind: nftables.ChainTypeNAT, hook: nftables.ChainHookPostrouting, priority: 100, rules: [][]expr.Any{
			rule(toReplica, isLoopback(saddr), snatTo(Gateway)),
			rule(toReplica, in(setSelf, saddr, daddr), snatTo(Gateway)),
			rule(toElsewhere, in(setOpen, saddr), notIn(setSubnets, daddr), masquerade()),
		}},
	}
}
