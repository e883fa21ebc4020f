package network

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// refresh makes r what the kernel has. It reads all only when anything was committed since r knew it.
func (r *ruleset) refresh() error {
	gen, err := generation()
	if err != nil {
		return err
	}
	if r.known && r.gen == gen {
		return nil
	}
	conn, err := r.dial()
	if err != nil {
		return err
	}
	fresh := ruleset{table: r.table, prefix: r.prefix, dnsPort: r.dnsPort, known: true, gen: gen}
	if err := fresh.read(conn); err != nil {
		return fmt.Errorf("read nft table %s: %w", r.table, err)
	}
	*r = fresh
	return nil
}

func (r *ruleset) read(conn *nftables.Conn) error {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == r.table })
	if i < 0 {
		return nil
	}
	r.exists = true
	if r.intact, err = r.readChains(conn); err != nil || !r.intact {
		return err
	}
	r.have = contents{}
	for _, s := range allSets() {
		s.Table = tables[i]
		if err := r.readSet(conn, &s); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	return nil
}

// readChains finds the balancers' chains and tells whether every chain has as many rules as we gave it.
func (r *ruleset) readChains(conn *nftables.Conn) (intact bool, err error) {
	all, err := conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, err
	}
	got, err := r.countRules()
	if err != nil {
		return false, err
	}
	r.chains = map[string]bool{}
	want := map[string]int{}
	for _, c := range staticChains(r.prefix, r.dnsPort) {
		want[c.name] = len(c.rules)
	}
	missing := len(want)
	for _, c := range all {
		if c.Table.Name != r.table {
			continue
		}
		rules, static := want[c.Name]
		if static {
			missing--
		} else {
			r.chains[c.Name] = true
			rules = len(balancers[0].rules(1))
		}
		if got[c.Name] != rules {
			return false, nil
		}
	}
	return missing == 0, nil
}

// countRules returns how many rules each chain of the table has.
func (r *ruleset) countRules() (map[string]int, error) {
	filter, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: unix.NFTA_RULE_TABLE, Data: []byte(r.table + "\x00")}})
	if err != nil {
		return nil, err
	}
	rules, err := ask(unix.NFT_MSG_GETRULE, netlink.Request|netlink.Dump, filter)
	if err != nil {
		return nil, fmt.Errorf("count rules: %w", err)
	}
	count := map[string]int{}
	for _, m := range rules {
		attrs, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return nil, fmt.Errorf("count rules: %w", err)
		}
		var table, chain string
		for attrs.Next() {
			switch attrs.Type() {
			case unix.NFTA_RULE_TABLE:
				table = attrs.String()
			case unix.NFTA_RULE_CHAIN:
				chain = attrs.String()
			}
		}
		if table == r.table {
			count[chain]++
		}
	}
	return count, nil
}

// generation asks the kernel for the number of its last commit.
func generation() (uint32, error) {
	replies, err := ask(unix.NFT_MSG_GETGEN, netlink.Request, nil)
	if err != nil {
		return 0, fmt.Errorf("read nft generation: %w", err)
	}
	for _, m := range replies {
		attrs, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return 0, fmt.Errorf("read nft generation: %w", err)
		}
		for attrs.Next() {
			if attrs.Type() == unix.NFTA_GEN_ID {
				return binaryutil.BigEndian.Uint32(attrs.Bytes()), nil
			}
		}
	}
	return 0, fmt.Errorf("read nft generation: %w", os.ErrNotExist)
}

// ask sends one question about IPv4 to nftables.
func ask(question uint16, flags netlink.HeaderFlags, attrs []byte) ([]netlink.Message, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open netfilter: %w", err)
	}
	defer func() { _ = conn.Close() }()
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | question), Flags: flags},
		Data:   append([]byte{unix.AF_INET, 0, 0, 0}, attrs...),
	})
}

func (r *ruleset) readSet(conn *nftables.Conn, s *nftables.Set) error {
	got, err := conn.GetSetElements(s)
	if err != nil {
		return err
	}
	if s.Interval && !s.Concatenation {
		return r.readIntervals(s.Name, got)
	}
	for _, e := range got {
		value := string(e.Val)
		switch {
		case s.Concatenation && s.Interval:
			value = string(e.KeyEnd)
		case isVerdictMap(s.Name):
			if value, err = chainOf(e.Val); err != nil {
				return err
			}
		}
		r.have.put(s.Name, string(e.Key), value)
	}
	return nil
}

// readIntervals joins the two elements that the kernel has for each interval.
func (r *ruleset) readIntervals(set string, got []nftables.SetElement) error {
	slices.SortFunc(got, func(a, b nftables.SetElement) int {
		if c := bytes.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		if a.IntervalEnd == b.IntervalEnd {
			return 0
		}
		if a.IntervalEnd { // one ends where the next one starts
			return -1
		}
		return 1
	})
	start := ""
	for _, e := range got {
		switch {
		case !e.IntervalEnd:
			start = string(e.Key)
		case start != "":
			r.have.put(set, start, string(e.Key))
			start = ""
		}
	}
	return nil
}

// chainOf returns the chain that a verdict leads to.
func chainOf(verdict []byte) (string, error) {
	attrs, err := netlink.NewAttributeDecoder(verdict)
	if err != nil {
		return "", fmt.Errorf("decode verdict: %w", err)
	}
	for attrs.Next() {
		if attrs.Type() == unix.NFTA_VERDICT_CHAIN {
			return strings.TrimRight(attrs.String(), "\x00"), nil
		}
	}
	return "", attrs.Err()
}
