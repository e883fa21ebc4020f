package plan_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
)

func TestDigest(t *testing.T) {
	a := spec("web", func(s *holdfast.Spec) { s.Labels = map[string]string{"a": "1", "b": "2"} })
	b := spec("web", func(s *holdfast.Spec) { s.Labels = map[string]string{"b": "2", "a": "1"} })
	b.KindReason, b.Replicas = "declared", 7
	if plan.Digest(a) != plan.Digest(b) {
		t.Error("the count or the reason of the kind changes the digest")
	}
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var back holdfast.Spec
	if err := json.Unmarshal(text, &back); err != nil || plan.Digest(back) != plan.Digest(a) {
		t.Errorf("a spec that went over the wire has another digest (%v)", err)
	}
	b.Process.Env = []string{"A=1"}
	if plan.Digest(a) == plan.Digest(b) {
		t.Error("the environment does not change the digest")
	}
}

func TestDeployRefuses(t *testing.T) {
	subnet := netip.MustParsePrefix
	cases := []struct {
		name   string
		change func(*holdfast.Deployment)
		kind   error
		want   string
	}{
		{"app name", func(d *holdfast.Deployment) { d.Name = "../etc" }, holdfast.ErrInvalid, `app name "../etc"`},
		{"service name", func(d *holdfast.Deployment) { d.Services[0].Name = "Web" }, holdfast.ErrInvalid, `service name "Web"`},
		{"twice", func(d *holdfast.Deployment) { d.Services = append(d.Services, d.Services[0]) }, holdfast.ErrInvalid, "there twice"},
		{"no image", func(d *holdfast.Deployment) { d.Services[0].Image = "" }, holdfast.ErrInvalid, "web: no image"},
		{"mode", func(d *holdfast.Deployment) { d.Services[0].Mode = "some" }, holdfast.ErrInvalid, `mode "some"`},
		{"count", func(d *holdfast.Deployment) { d.Services[0].Replicas = -1 }, holdfast.ErrInvalid, "-1 replicas"},
		{"network", func(d *holdfast.Deployment) { d.Services[0].Networks[0].Network = "x" }, holdfast.ErrInvalid, "network x is not defined"},
		{"volume", func(d *holdfast.Deployment) {
			d.Services[0].Mounts = []holdfast.Mount{{Type: "volume", Source: "x"}}
		}, holdfast.ErrInvalid, "volume x is not defined"},
		{"file", func(d *holdfast.Deployment) {
			d.Services[0].Files = []holdfast.FileMount{{Name: "key", Digest: "sha256:00"}}
		}, holdfast.ErrInvalid, "file key (sha256:00) is missing"},
		{"file content", func(d *holdfast.Deployment) {
			d.Files = []holdfast.File{{Name: "key", Digest: "sha256:00", Data: []byte("x")}}
		}, holdfast.ErrInvalid, "does not have digest"},
		{"dependency", func(d *holdfast.Deployment) {
			d.Services[0].DependsOn = []holdfast.Dependency{{Service: "db", Condition: "started"}}
		}, holdfast.ErrInvalid, "depends on service db, which does not exist"},
		{"condition", func(d *holdfast.Deployment) {
			d.Services[0].DependsOn = []holdfast.Dependency{{Service: "web", Condition: "maybe"}}
		}, holdfast.ErrInvalid, `unknown condition "maybe"`},
		{"cycle", func(d *holdfast.Deployment) {
			d.Services = append(d.Services, spec("api", needs("db")), spec("db", needs("api")))
		}, holdfast.ErrInvalid, "api → db → api"},
		{"network of nobody", func(d *holdfast.Deployment) { d.Services[0].NetworkMode = "service:x" }, holdfast.ErrInvalid, "shares the network of service x"},
		{"constraint", func(d *holdfast.Deployment) { d.Services[0].Placement.Constraints = []string{"node.colour == red"} }, holdfast.ErrInvalid, `no such key "node.colour"`},
		{"constraint form", func(d *holdfast.Deployment) { d.Services[0].Placement.Constraints = []string{"node.id"} }, holdfast.ErrInvalid, "not of the form"},
		{"cron", func(d *holdfast.Deployment) { d.Services[0].Triggers = []holdfast.Trigger{{Cron: "every day"}} }, holdfast.ErrInvalid, `trigger "every day"`},
		{"timezone", func(d *holdfast.Deployment) {
			d.Services[0].Triggers = []holdfast.Trigger{{Cron: "@daily", Timezone: "Mars/Base"}}
		}, holdfast.ErrInvalid, `unknown timezone "Mars/Base"`},
		{"fixed address of several", func(d *holdfast.Deployment) {
			d.Services[0].Replicas = 2
			d.Services[0].Networks[0].IPv4 = netip.MustParseAddr("10.9.0.9")
		}, holdfast.ErrInvalid, "for one replica only"},
		{"fixed address outside", func(d *holdfast.Deployment) {
			d.Networks["default"] = holdfast.Network{Name: "shop_default", Subnet: subnet("10.8.0.0/24")}
			d.Services[0].Networks[0].IPv4 = netip.MustParseAddr("10.9.0.9")
		}, holdfast.ErrInvalid, "outside of subnet"},
		{"subnet", func(d *holdfast.Deployment) {
			d.Networks["default"] = holdfast.Network{Name: "shop_default", Subnet: subnet("10.50.1.0/24")}
		}, holdfast.ErrConflict, "overlaps 10.50.0.0/16"},
		{"network name", func(d *holdfast.Deployment) { d.Networks["default"] = holdfast.Network{Name: "other_net"} }, holdfast.ErrConflict, "taken by another app"},
		{"external network", func(d *holdfast.Deployment) {
			d.Networks["default"] = holdfast.Network{Name: "nowhere", External: true}
		}, holdfast.ErrNotFound, "external network nowhere"},
		{"port", func(d *holdfast.Deployment) { d.Services[0].Ports = []holdfast.Port{tcp(443, "")} }, holdfast.ErrConflict, "443/tcp is published by service edge of app other"},
		{"port of one address", func(d *holdfast.Deployment) { d.Services[0].Ports = []holdfast.Port{tcp(443, "127.0.0.1")} }, holdfast.ErrConflict, "443/tcp"},
		{"port twice", func(d *holdfast.Deployment) {
			d.Services[0].Ports = []holdfast.Port{tcp(90, "")}
			d.Services = append(d.Services, spec("zap", func(s *holdfast.Spec) { s.Ports = []holdfast.Port{tcp(90, "")} }))
		}, holdfast.ErrConflict, "90/tcp is published by service"},
		{"volume options", func(d *holdfast.Deployment) {
			d.Volumes = map[string]holdfast.Volume{"data": {Name: "other_data", DriverOpts: map[string]string{"type": "nfs"}}}
		}, holdfast.ErrConflict, "exists in app other with other options"},
	}
	w := newWorld(t)
	w.deploy(holdfast.Deployment{
		Name: "other", Networks: map[string]holdfast.Network{"net": {Name: "other_net", Subnet: subnet("10.50.0.0/16")}},
		Volumes: map[string]holdfast.Volume{"data": {Name: "other_data"}},
		Services: []holdfast.Spec{spec("edge", func(s *holdfast.Spec) {
			s.Networks, s.Ports = nil, []holdfast.Port{tcp(443, "")}
		})},
	})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := shop(spec("web"))
			c.change(&d)
			_, err := plan.Deploy(w.snap(), d, start)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got error %v, want one with %q", err, c.want)
			}
			expectKind(t, err, c.kind)
		})
	}
}

func needs(service string) func(*holdfast.Spec) {
	return func(s *holdfast.Spec) { s.DependsOn = []holdfast.Dependency{{Service: service, Condition: "started"}} }
}

func tcp(port uint16, ip string) holdfast.Port {
	return holdfast.Port{Target: 80, Published: port, HostIP: ip, Protocol: "tcp", Mode: "ingress"}
}

func TestDeployChangesNothingTwice(t *testing.T) {
	w := newWorld(t)
	d := shop(spec("web", func(s *holdfast.Spec) { s.Ports = []holdfast.Port{{Target: 80, Protocol: "tcp", Mode: "ingress"}} }), spec("db"))
	d.Services[0].Files = []holdfast.FileMount{{Name: "key", Digest: "sha256:9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0", Secret: true}}
	d.Files = []holdfast.File{{Name: "key", Secret: true, Digest: d.Services[0].Files[0].Digest, Data: []byte("aaa")}}
	w.deploy(d)
	if again := w.deploy(d); plan.Changes(again) {
		t.Errorf("deployed again, it does %v", again)
	}
	app, _ := w.snap().Apps.Get("shop")
	if net := app.Networks["default"]; !net.Subnet.IsValid() || !net.Subnet.Contains(w.service("web").VIPs["default"]) {
		t.Errorf("network %+v, service addresses %v", net, w.service("web").VIPs)
	}
	rel, _ := w.snap().Releases.Get(store.ReleaseKey("shop", "web", 1))
	if rel.Spec.Ports[0].Published != 30000 {
		t.Errorf("port %d was chosen", rel.Spec.Ports[0].Published)
	}
	// The chosen port and address stay with the next release; the secret's content goes with the last that mounts it.
	d.Services[0].Image, d.Services[0].Files, d.Files = "web:2", nil, nil
	vip := w.service("web").VIPs["default"]
	w.deploy(d)
	rel, _ = w.snap().Releases.Get(store.ReleaseKey("shop", "web", 2))
	if rel.Spec.Ports[0].Published != 30000 || w.service("web").VIPs["default"] != vip {
		t.Errorf("the next release has port %d and address %v", rel.Spec.Ports[0].Published, w.service("web").VIPs)
	}
	if n := w.snap().Files.Len(); n != 1 {
		t.Errorf("%d files while release 1 can be gone back to", n)
	}
	for i := range 12 {
		w.put(node("a"))
		d.Services[0].Image = "web:" + strings.Repeat("x", i+1)
		w.deploy(d)
		w.settle()
		w.now = w.now.Add(10 * time.Second)
		w.settle()
	}
	if n := w.snap().Files.Len(); n != 0 {
		t.Errorf("%d files that no release mounts", n)
	}
	if first := w.snap().Releases; first.Len() > 12 {
		t.Errorf("%d releases are kept", first.Len())
	}
}

func TestExternalNetworkIsShared(t *testing.T) {
	w := newWorld(t)
	w.put(node("a"))
	w.deploy(shop(spec("web")))
	side := holdfast.Deployment{
		Name: "side", Services: []holdfast.Spec{spec("web")},
		Networks: map[string]holdfast.Network{"default": {Name: "shop_default", External: true}},
	}
	w.deploy(side)
	w.settle()
	seen := map[netip.Addr]bool{}
	for _, r := range w.snap().Replicas.All("") {
		seen[r.Addresses["default"]] = true
	}
	for _, s := range w.snap().Services.All("") {
		seen[s.VIPs["default"]] = true
	}
	if len(seen) != 4 {
		t.Errorf("two replicas and two services have the addresses %v", seen)
	}
	_, err := plan.Down(w.snap(), "shop")
	expectKind(t, err, holdfast.ErrConflict)
}

func TestRestartWithDependency(t *testing.T) {
	w := newWorld(t)
	dep := func(s *holdfast.Spec) {
		s.DependsOn = []holdfast.Dependency{{Service: "db", Condition: "started", Restart: true}}
	}
	w.deploy(shop(spec("db"), spec("api", dep), spec("web")))
	w.deploy(shop(spec("db", func(s *holdfast.Spec) { s.Image = "db:2" }), spec("api", dep), spec("web")))
	if db, api, web := w.service("db").Release, w.service("api").Release, w.service("web").Release; db != 2 || api != 2 || web != 1 {
		t.Errorf("releases db %d, api %d, web %d", db, api, web)
	}
}
