package network

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// refresh makes r what the kernel has. It reads all only when anything was committed since r knew it.
func (r *ruleset) refresh() error {
	gen, err := r.generation()
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
	fresh := ruleset{table: r.table, prefix: r.prefix, known: true, gen: gen}
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
	if r.intact, err = r.readChains(conn, tables[i]); err != nil || !r.intact {
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
func (r *ruleset) readChains(conn *nftables.Conn, table *nftables.Table) (intact bool, err error) {
	all, err := conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return false, err
	}
	r.chains = map[string]bool{}
	want := map[string]int{}
	for _, c := range staticChains(r.prefix) {
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
		got, err := conn.GetRules(table, c)
		if err != nil {
			return false, err
		}
		if len(got) != rules {
			return false, nil
		}
	}
	return missing == 0, nil
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
