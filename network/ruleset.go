package network

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
)

// ruleset is the nft table: it knows what the kernel has and writes what it should have. Not safe for concurrent use.
type ruleset struct {
	table   string
	prefix  string // of the veths' names
	dnsPort uint16 // of our DNS server

	known  bool            // the rest is what the kernel has, if its generation is still gen
	gen    uint32          // of the kernel's rules: every commit, by anyone, raises it
	intact bool            // the table is there, of our schema, with all its rules
	exists bool            // a table of that name is there
	have   contents        // of its sets
	chains map[string]bool // of balancers
}

// ensure makes the table, empty, unless one is there: whatever a former agent wrote stays until the first apply.
func (r *ruleset) ensure() error {
	if err := r.refresh(); err != nil {
		return err
	}
	if r.exists {
		return nil
	}
	return r.apply(contents{})
}

// apply makes the sets hold want, in one transaction, and builds the table first, in the same transaction, where it is
// missing or not as it should be.
func (r *ruleset) apply(want contents) error {
	if err := r.refresh(); err != nil {
		return err
	}
	have := r.have
	if !r.intact {
		have = nil
	}
	del, add := diff(have, want)
	if r.intact && len(del)+len(add) == 0 {
		return nil
	}
	conn, err := r.dial()
	if err != nil {
		return err
	}
	chains := r.write(conn, want, del, add)
	r.known = false
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write nft table %s: %w", r.table, err)
	}
	gen, err := generation()
	if err != nil {
		return err
	}
	// Someone else's commit between ours and here may have been to our table; it is found at the next full read.
	*r = ruleset{table: r.table, prefix: r.prefix, dnsPort: r.dnsPort, known: true, gen: gen, intact: true, exists: true, have: want, chains: chains}
	return nil
}

// write queues the transaction and returns the balancers' chains that there are after it.
func (r *ruleset) write(conn *nftables.Conn, want contents, del, add []change) map[string]bool {
	table := &nftables.Table{Name: r.table, Family: nftables.TableFamilyIPv4}
	sets := map[string]*nftables.Set{}
	for _, s := range allSets() {
		s.Table = table
		sets[s.Name] = &s
	}
	chains := map[string]bool{}
	if r.intact {
		for name := range r.chains {
			chains[name] = true
		}
	} else {
		r.build(conn, table, sets)
	}
	for _, b := range balancers {
		for _, name := range want[b.name] {
			if !chains[name] {
				chains[name] = true
				n, _ := strconv.Atoi(name[strings.LastIndexByte(name, '_')+1:])
				addRules(conn, conn.AddChain(&nftables.Chain{Name: name, Table: table}), b.rules(n))
			}
		}
	}
	inChunks(del, func(set string, es []nftables.SetElement) { _ = conn.SetDeleteElements(sets[set], es) })
	inChunks(add, func(set string, es []nftables.SetElement) { _ = conn.SetAddElements(sets[set], es) })
	return chains
}

// build queues the making of the empty table, in place of one of another shape.
func (r *ruleset) build(conn *nftables.Conn, table *nftables.Table, sets map[string]*nftables.Set) {
	if r.exists {
		conn.DelTable(table)
	}
	conn.AddTable(table)
	for _, s := range allSets() {
		_ = conn.AddSet(sets[s.Name], nil) // only anonymous sets make it fail
	}
	static := staticChains(r.prefix, r.dnsPort)
	made := make([]*nftables.Chain, len(static))
	for i, c := range static {
		made[i] = conn.AddChain(nftChain(c, table))
	}
	for i, c := range static {
		addRules(conn, made[i], c.rules)
	}
}

func nftChain(c chain, table *nftables.Table) *nftables.Chain {
	out := &nftables.Chain{Name: c.name, Table: table}
	if c.hook != nil {
		accept := nftables.ChainPolicyAccept
		out.Type, out.Hooknum, out.Priority, out.Policy = c.kind, c.hook, nftables.ChainPriorityRef(nftables.ChainPriority(c.priority)), &accept
	}
	return out
}

func addRules(conn *nftables.Conn, c *nftables.Chain, rules [][]expr.Any) {
	for _, exprs := range rules {
		conn.AddRule(&nftables.Rule{Table: c.Table, Chain: c, Exprs: exprs})
	}
}

// maxElements in one message keep its list below the 64 KiB that a netlink attribute can hold.
const maxElements = 400

// inChunks calls f with the elements of changes, set by set.
func inChunks(changes []change, f func(set string, es []nftables.SetElement)) {
	for len(changes) > 0 {
		set := changes[0].set
		n := 0
		var es []nftables.SetElement
		for n < len(changes) && changes[n].set == set && n < maxElements {
			es = append(es, elements(changes[n])...)
			n++
		}
		f(set, es)
		changes = changes[n:]
	}
}

// elements is the kernel's form of one element of contents: two for an interval of a single field.
func elements(c change) []nftables.SetElement {
	e := nftables.SetElement{Key: []byte(c.key)}
	switch {
	case c.set == setSubnets || c.set == setOpen:
		return []nftables.SetElement{e, {Key: []byte(c.val), IntervalEnd: true}}
	case c.set == setPeers:
		e.KeyEnd = []byte(c.val)
	case isVerdictMap(c.set):
		e.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: c.val}
	case c.val != "":
		e.Val = []byte(c.val)
	}
	return []nftables.SetElement{e}
}

func isVerdictMap(set string) bool {
	return slices.ContainsFunc(balancers, func(b balancer) bool { return b.name == set })
}

func (r *ruleset) dial() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(
			c.SetWriteBuffer(16<<20), // one message per transaction
			c.SetReadBuffer(16<<20),
			c.SetDeadline(time.Now().Add(10*time.Second)),
		)
	}))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return conn, nil
}
