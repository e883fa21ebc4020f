package network

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
)

func TestHostsFile(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("10.208.0.1"), netip.MustParseAddr("10.208.16.1")}
	got, err := HostsFile("web-1", "example.org", addrs, []string{"host.docker.internal=host-gateway", "six=[fd00::1]", "four=192.0.2.9"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback", "169.254.1.1\thost.docker.internal", "fd00::1\tsix", "192.0.2.9\tfour",
		"10.208.0.1\tweb-1.example.org web-1", "10.208.16.1\tweb-1.example.org web-1",
	} {
		if !slices.Contains(strings.Split(string(got), "\n"), line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	for _, extra := range []string{"name", "=1.2.3.4", "name=", "name=somewhere", "a b=1.2.3.4", "a\n1.2.3.4\tb=1.2.3.4"} {
		if _, err := HostsFile("web", "", nil, []string{extra}); !errors.Is(err, holdfast.ErrInvalid) {
			t.Errorf("extra host %q: %v", extra, err)
		}
	}
	if _, err := HostsFile("we b", "", nil, nil); !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("host name with a space: %v", err)
	}
	if got, err := HostnameFile("web-1"); err != nil || string(got) != "web-1\n" {
		t.Errorf("/etc/hostname: %q, %v", got, err)
	}
}

func TestResolvConfFile(t *testing.T) {
	for _, c := range []struct {
		dns  holdfast.DNS
		host []string
		want string
	}{
		{holdfast.DNS{}, nil, "nameserver 169.254.1.1\noptions ndots:0 attempts:5\n"},
		{holdfast.DNS{}, []string{"lan"}, "nameserver 169.254.1.1\nsearch lan\noptions ndots:0 attempts:5\n"},
		{holdfast.DNS{Search: []string{"."}}, []string{"lan"}, "nameserver 169.254.1.1\noptions ndots:0 attempts:5\n"},
		{holdfast.DNS{Servers: []string{"8.8.8.8"}, Search: []string{"a", "b"}, Options: []string{"ndots:2", "use-vc"}}, []string{"lan"}, "nameserver 169.254.1.1\nsearch a b\noptions ndots:2 use-vc attempts:5\n"},
	} {
		if got, err := ResolvConfFile(c.dns, c.host); err != nil || string(got) != c.want {
			t.Errorf("%+v: got %q, %v", c.dns, got, err)
		}
	}
	if _, err := ResolvConfFile(holdfast.DNS{Options: []string{"x\nnameserver 6.6.6.6"}}, nil); !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("an option with a line end: %v", err)
	}
	if got := SearchOf([]byte("domain a\nnameserver 1.1.1.1\nsearch b c\n")); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("search list %q", got)
	}
}
