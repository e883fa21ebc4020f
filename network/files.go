package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/holdfast/holdfast"
)

// Files that a container finds in its /etc. All are pure; names that could not stand in such a file are ErrInvalid.

// HostnameFile returns /etc/hostname.
func HostnameFile(hostname string) ([]byte, error) {
	if err := checkWord("host name", hostname); err != nil {
		return nil, err
	}
	return []byte(hostname + "\n"), nil
}

// HostsFile returns /etc/hosts: localhost, extra ("name=address", where the address may be host-gateway), and the
// container's own name for each of its addresses. Domainname may be "".
func HostsFile(hostname, domainname string, addrs []netip.Addr, extra []string) ([]byte, error) {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\n" +
		"ff00::\tip6-mcastprefix\n" +
		"ff02::1\tip6-allnodes\n" +
		"ff02::2\tip6-allrouters\n")
	for _, e := range extra {
		name, addr, err := extraHost(e)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s\t%s\n", addr, name)
	}
	names := hostname
	if domainname != "" {
		names = hostname + "." + domainname + " " + hostname
	}
	for _, n := range []string{hostname, hostname + domainname} {
		if err := checkWord("host name", n); err != nil {
			return nil, err
		}
	}
	for _, a := range addrs {
		fmt.Fprintf(&b, "%s\t%s\n", a, names)
	}
	return []byte(b.String()), nil
}

func extraHost(e string) (name string, addr netip.Addr, err error) {
	name, value, ok := strings.Cut(e, "=")
	if !ok {
		return "", addr, holdfast.Errorf(holdfast.ErrInvalid, "extra host %q: want name=address", e)
	}
	if err := checkWord("extra host", name); err != nil {
		return "", addr, err
	}
	if value == "host-gateway" {
		return name, Gateway, nil
	}
	addr, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(value, "["), "]"))
	if err != nil {
		return "", addr, holdfast.Errorf(holdfast.ErrInvalid, "extra host %q: %q is no address", e, value)
	}
	return name, addr, nil
}

// ResolvConfFile returns /etc/resolv.conf: the node's DNS server, which asks d.Servers for what is not the cluster's
// (Peer.Resolvers). The search list is d.Search or else hostSearch; "." alone is none. Options are d.Options and,
// unless they say otherwise, ndots:0, so that a service's name is asked for as it is, and attempts:5, to outwait an
// agent's restart.
func ResolvConfFile(d holdfast.DNS, hostSearch []string) ([]byte, error) {
	search := d.Search
	if len(search) == 0 {
		search = hostSearch
	}
	if slices.Equal(search, []string{"."}) {
		search = nil
	}
	options := slices.Clone(d.Options)
	for _, def := range []string{"ndots:0", "attempts:5"} {
		name, _, _ := strings.Cut(def, ":")
		if !slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, name+":") }) {
			options = append(options, def)
		}
	}
	for _, word := range slices.Concat(search, options) {
		if err := checkWord("resolv.conf", word); err != nil {
			return nil, err
		}
	}
	out := "nameserver " + Gateway.String() + "\n"
	if len(search) > 0 {
		out += "search " + strings.Join(search, " ") + "\n"
	}
	return []byte(out + "options " + strings.Join(options, " ") + "\n"), nil
}

// SearchOf returns the search list of a resolv.conf file: its last search or domain line.
func SearchOf(resolvConf []byte) []string {
	var search []string
	for line := range strings.Lines(string(resolvConf)) {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == "search" || f[0] == "domain") {
			search = f[1:]
		}
	}
	return search
}

// checkWord refuses what would end a field or a line, or be a comment.
func checkWord(what, word string) error {
	bad := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '#' }
	if word == "" || strings.ContainsFunc(word, bad) {
		return holdfast.Errorf(holdfast.ErrInvalid, "%s: %q is no name", what, word)
	}
	return nil
}
