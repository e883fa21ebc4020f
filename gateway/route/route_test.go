package route

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// app returns the nouns of a service with one release and its routes.
func app(name string, routes ...holdfast.Route) []any {
	spec := holdfast.Spec{
		Name: "web", Mode: holdfast.Replicated, Replicas: 2, Routes: routes,
		Networks: []holdfast.Attachment{{Network: "default"}},
	}
	return []any{
		&holdfast.Service{App: name, Name: "web", Release: 1},
		&holdfast.Release{App: name, Service: "web", Number: 1, Spec: spec},
	}
}

// instance returns the nouns of a replica of app/web.
func instance(app, id string, release int, desired holdfast.Desired, state holdfast.State, ready bool) []any {
	return []any{
		&holdfast.Replica{
			ID: id, App: app, Service: "web", Release: release, Slot: 1, Node: "n1", Desired: desired,
			Addresses: map[string]netip.Addr{"default": netip.MustParseAddr("10.0.0.1")},
		},
		&holdfast.Status{ID: id, State: state, Ready: ready},
	}
}

func build(groups ...[]any) *Table {
	var nouns []any
	for _, g := range groups {
		nouns = append(nouns, g...)
	}
	return Build(store.NewSnapshot(1, nouns...), "n1")
}

func TestMatch(t *testing.T) {
	table := build(
		app("any", holdfast.Route{Port: 1}, holdfast.Route{PathPrefix: "/deep/er", Port: 1}),
		app("exact", holdfast.Route{Host: "a.test", PathPrefix: "/api/", Port: 1}, holdfast.Route{Host: "A.test", PathPrefix: "/api/v2", Port: 1}),
		app("wild", holdfast.Route{Host: "*.test", Port: 1}, holdfast.Route{Host: "*.test", PathPrefix: "/w", Port: 1}),
	)
	for _, c := range []struct{ host, path, want string }{
		{"a.test", "/api", "a.test/api"},
		{"A.TEST.:8080", "/api/x?", "a.test/api"},
		{"a.test", "/api/v2", "a.test/api/v2"},
		{"a.test", "/api/v2/x", "a.test/api/v2"},
		{"a.test", "/api/v22", "a.test/api"},
		{"a.test", "/apix", "*.test/"},
		{"a.test", "/", "*.test/"},
		{"b.test", "/w", "*.test/w"},
		{"b.test", "/w/", "*.test/w"},
		{"x.b.test", "/w", "*/"},
		{".test", "/w", "*/"},
		{"test", "/deep/er/est", "*/deep/er"},
		{"test", "/deep", "*/"},
		{"", "/", "*/"},
		{"[::1]:80", "/deep/er", "*/deep/er"},
		{"a.test", "/x/../api/v2", "a.test/api/v2"},
		{"a.test", "/%61pi", "a.test/api"},
		{"a.test", "/api/%2e%2e/w", "*.test/w"},
		{"a.test", "/api%2fv2", "*.test/"},
		{"a.test", "/../../api", "a.test/api"},
		{"a.test", "//api", "*.test/"},
		{"a.test", "", "*.test/"},
		{"a.test", "*", "*.test/"},
	} {
		if got := table.Match(c.host, c.path); got == nil || got.String() != c.want {
			t.Errorf("Match(%q, %q) = %v, want %s", c.host, c.path, got, c.want)
		}
	}
	if got := build(app("a", holdfast.Route{Host: "a.test", Port: 1})).Match("b.test", "/"); got != nil {
		t.Errorf("unknown host: %v", got)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	table := build(app("exact", holdfast.Route{Host: "a.test", PathPrefix: "/api", Port: 1}))
	if n := testing.AllocsPerRun(100, func() { table.Match("a.test:8080", "/api/users/7.json") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestStripPath(t *testing.T) {
	for _, c := range []struct{ prefix, path, want string }{
		{"/api", "/api", "/"},
		{"/api", "/api/x%2Fy", "/x%2Fy"},
		{"/api", "/%61pi/x", "/x"},
		{"/", "/x", "/x"},
	} {
		r := &Route{Path: c.prefix, Strip: true}
		if got := r.StripPath(c.path); got != c.want {
			t.Errorf("%s: StripPath(%q) = %q, want %q", c.prefix, c.path, got, c.want)
		}
	}
	if got := (&Route{Path: "/api"}).StripPath("/api/x"); got != "/api/x" {
		t.Errorf("without Strip: %q", got)
	}
}

func TestOnlyReadyReplicasAreEndpoints(t *testing.T) {
	for _, c := range []struct {
		desired holdfast.Desired
		state   holdfast.State
		ready   bool
		phase   Phase
	}{
		{holdfast.Run, holdfast.Running, true, Ready},
		{holdfast.Run, holdfast.Running, false, Waiting},
		{holdfast.Run, holdfast.Starting, true, Waiting},
		{holdfast.Run, holdfast.Draining, true, Draining},
		{holdfast.Stop, holdfast.Running, true, Draining},
		{holdfast.Run, holdfast.Stopping, true, Draining},
		{holdfast.Run, holdfast.Failed, true, Ended},
		{holdfast.Stop, holdfast.Stopped, false, Ended},
	} {
		table := build(app("a", holdfast.Route{Port: 80}), instance("a", "a-web-1", 1, c.desired, c.state, c.ready))
		if got := table.Replicas[0].Phase; got != c.phase {
			t.Errorf("%s %s ready=%v: phase %d, want %d", c.desired, c.state, c.ready, got, c.phase)
		}
		if n := len(table.Backends[0].Endpoints); n == 1 != (c.phase == Ready) {
			t.Errorf("%s %s ready=%v: %d endpoints", c.desired, c.state, c.ready, n)
		}
	}
}

func TestEachReplicaIsReachedOnItsReleasesPort(t *testing.T) {
	second := &holdfast.Release{App: "a", Service: "web", Number: 2, Spec: holdfast.Spec{
		Routes: []holdfast.Route{{Port: 90}, {PathPrefix: "/new", Port: 91}},
	}}
	table := build(
		app("a", holdfast.Route{Port: 80}, holdfast.Route{PathPrefix: "/old", Port: 81}),
		[]any{second, &holdfast.Service{App: "a", Name: "web", Release: 2}},
		instance("a", "r1", 1, holdfast.Run, holdfast.Running, true),
		instance("a", "r2", 2, holdfast.Run, holdfast.Running, true),
	)
	for path, want := range map[string]string{
		"/": "[r1:80 r2:90]", "/new": "[r2:91]", "/old": "[r1:81]",
	} {
		var got []string
		for _, e := range table.Match("", path).Backend.Endpoints {
			got = append(got, fmt.Sprintf("%s:%d", e.Replica, e.Addr.Port()))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", path, got, want)
		}
	}
}

func TestRemovedServiceKeepsItsRoutesWhileReplicasAreReady(t *testing.T) {
	removing := []any{&holdfast.Service{App: "a", Name: "web", Release: 1, Removing: true}}
	web := app("a", holdfast.Route{Port: 80})
	if n := len(build(web, removing).Routes); n != 0 {
		t.Errorf("without replicas: %d routes", n)
	}
	if n := len(build(web, removing, instance("a", "r", 1, holdfast.Run, holdfast.Running, true)).Routes); n != 1 {
		t.Errorf("with a ready replica: %d routes", n)
	}
}

func TestFirstOfTwoHasARouteOrPort(t *testing.T) {
	with := func(name string) []any {
		nouns := app(name, holdfast.Route{Host: "x.test", Port: 80})
		spec := &nouns[1].(*holdfast.Release).Spec
		spec.Ports = []holdfast.Port{
			{Target: 80, Published: 8080, Protocol: "tcp", Mode: "ingress"},
			{Target: 53, Published: 53, Protocol: "udp", Mode: "ingress", HostIP: "nonsense"},
			{Target: 1, Published: 1, Mode: "host"},
		}
		return nouns
	}
	table := build(with("a"), with("b"))
	if len(table.Routes) != 1 || table.Routes[0].Backend.App != "a" || len(table.Ports) != 1 || table.Ports[0].Backend.App != "a" {
		t.Errorf("routes %v, ports %v", table.Routes, table.Ports)
	}
	var got []string
	for _, p := range table.Problems {
		got = append(got, p.String())
	}
	want := []string{
		`a/web: port nonsense:53: parse address: ParseAddr("nonsense"): unable to parse IP`,
		"b/web: route x.test/: taken by a/web",
		"b/web: port tcp 0.0.0.0:8080: taken by a/web",
		`b/web: port nonsense:53: parse address: ParseAddr("nonsense"): unable to parse IP`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("problems:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if table.Ports[0].HTTP == nil {
		t.Error("a port whose target a route goes to is not HTTP")
	}
}

func TestAddressOfHostAndSharedNetworks(t *testing.T) {
	nouns := append(app("a", holdfast.Route{Port: 80}), instance("a", "r", 1, holdfast.Run, holdfast.Running, true)...)
	spec := &nouns[1].(*holdfast.Release).Spec
	address := func() string {
		eps := build(nouns, []any{&holdfast.Node{ID: "n2", Address: netip.MustParseAddr("192.0.2.2")}},
			[]any{
				&holdfast.Release{App: "a", Service: "vpn", Number: 1},
				&holdfast.Replica{
					ID: "v", App: "a", Service: "vpn", Release: 1, Slot: 1, Node: "n1",
					Addresses: map[string]netip.Addr{"x": netip.MustParseAddr("10.9.9.9")},
				},
			}).Backends[0].Endpoints
		if len(eps) == 0 {
			return ""
		}
		return eps[0].Addr.Addr().String()
	}
	for mode, want := range map[string]string{"": "10.0.0.1", "host": "127.0.0.1", "none": "", "service:vpn": "10.9.9.9"} {
		if spec.NetworkMode = mode; address() != want {
			t.Errorf("network mode %q: %q, want %q", mode, address(), want)
		}
	}
	spec.NetworkMode = "host"
	nouns[2].(*holdfast.Replica).Node = "n2"
	if got := address(); got != "192.0.2.2" {
		t.Errorf("host mode on another node: %q", got)
	}
}

func TestExplain(t *testing.T) {
	table := build(
		app("any", holdfast.Route{Port: 1}),
		app("exact", holdfast.Route{Host: "a.test", PathPrefix: "/api", Port: 80, Strip: true}, holdfast.Route{Host: "a.test", PathPrefix: "/other", Port: 1}),
		instance("exact", "exact-web-1-x", 1, holdfast.Run, holdfast.Running, true),
	)
	want := `request    a.test/api/x
route      a.test/api → exact/web, path /x
replica    exact-web-1-x, release 1, 10.0.0.1:80
considered a.test/other (exact/web): path "/api/x" is not below "/other"
considered a.test/api (exact/web): taken: the most exact host, then the longest path
considered */ (any/web): its host is less exact
`
	if got := table.Explain("A.test:80", "/api/x", nil).String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := build(app("a", holdfast.Route{Host: "a.test", Port: 1})).Explain("b.test", "/", nil).String(); !strings.Contains(got, "404") ||
		!strings.Contains(got, `host "b.test" is not "a.test"`) {
		t.Errorf("no route:\n%s", got)
	}
}

// FuzzMatch compares Match with trying all routes one by one.
func FuzzMatch(f *testing.F) {
	f.Add("a.test", "/api/v2/../x")
	f.Add("b.TEST.:80", "//%2e%2E/%61")
	f.Add("[::1]", "*")
	f.Add("", "")
	table := build(
		app("any", holdfast.Route{PathPrefix: "/a/b", Port: 1}, holdfast.Route{PathPrefix: "/api", Port: 1}),
		app("exact", holdfast.Route{Host: "a.test", PathPrefix: "/api", Port: 1}, holdfast.Route{Host: "a.test", PathPrefix: "/api/v2", Port: 1}),
		app("wild", holdfast.Route{Host: "*.test", Port: 1}),
	)
	f.Fuzz(func(t *testing.T, host, path string) {
		h, p := Host(host), Path(path)
		if !strings.HasPrefix(p, "/") || Path(p) != p && !strings.Contains(p, "%") || strings.Contains(p+"/", "/../") {
			t.Fatalf("Path(%q) = %q is not normal", path, p)
		}
		var want *Route
		for _, r := range table.Routes {
			if !hostMatches(r.Host, h) || !hasPrefix(p, r.Path) {
				continue
			}
			if want == nil || hostRank(r.Host) < hostRank(want.Host) ||
				hostRank(r.Host) == hostRank(want.Host) && len(r.Path) > len(want.Path) {
				want = r
			}
		}
		if got := table.Match(host, path); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", host, path, got, want)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		routes := make([]holdfast.Route, n)
		for i := range routes {
			routes[i] = holdfast.Route{Host: fmt.Sprintf("h%d.test", i), PathPrefix: "/api", Port: 1}
		}
		table := build(app("a", routes...))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				table.Match("h0.test", "/api/users/7")
			}
		})
	}
}
