package cli

import (
	"context"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
)

func TestAgentFlags(t *testing.T) {
	r := newRig(t)
	var got AgentOptions
	r.env.Agent = func(_ context.Context, opt AgentOptions) error { got = opt; return nil }
	r.env.Gateway = r.env.Agent
	r.ok("agent", "--data", "/d", "--run", "/r", "--node", "n", "--label", "disk=ssd", "--label", "zone=", "--http", ":81", "--https", ":444", "--acme-email", "a@b.test", "--acme-url", "https://ca.test/dir", "--acme-ca", "/ca.pem",
		"--registry", "off", "--cgroup-parent", "/c", "--dns", "1.1.1.1", "--dns", "[::1]:5353", "--access-log", "--hold", "3s",
		"--pool-min", "1", "--pool-max", "4", "--log-format", "json", "--log-level", "warn")
	if got.Log == nil {
		t.Error("no log")
	}
	got.Log = nil
	want := AgentOptions{
		DataDir: "/d", RunDir: "/r", NodeName: "n", Labels: map[string]string{"disk": "ssd", "zone": ""}, HTTP: ":81", HTTPS: ":444",
		ACMEEmail: "a@b.test", ACMEURL: "https://ca.test/dir", ACMECA: "/ca.pem", Registry: "off",
		CgroupParent: "/c", Resolvers: []netip.AddrPort{netip.MustParseAddrPort("1.1.1.1:53"), netip.MustParseAddrPort("[::1]:5353")},
		AccessLog: true, HoldFor: 3 * time.Second, PoolMin: 1, PoolMax: 4,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("options are\n%+v, want\n%+v", got, want)
	}
	r.ok("gateway", "--data", "/d", "--run", "/r", "--http", ":80", "--hold", "10s", "--access-log")
	if got.DataDir != "/d" || got.HoldFor != 10*time.Second {
		t.Errorf("the gateway's options are %+v", got)
	}
}

func TestAgentEnds(t *testing.T) {
	r := newRig(t)
	r.env.Agent = func(context.Context, AgentOptions) error {
		return holdfast.Errorf(holdfast.ErrConflict, "another agent runs")
	}
	if got := r.run("agent"); got.code != exitConflict || lastMessage(got.errout) != "another agent runs" {
		t.Errorf("%d %s", got.code, got.errout)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.ctx = ctx
	r.env.Agent = func(ctx context.Context, _ AgentOptions) error { cancel(); return context.Cause(ctx) }
	if got := r.run("agent"); got.code != 0 {
		t.Errorf("asked to end: %d %s", got.code, got.errout)
	}
}

func TestSupervisorArguments(t *testing.T) {
	r := newRig(t)
	var got []string
	r.env.Supervisor = func(_ context.Context, args []string) error { got = args; return errors.New("no runtime") }
	res := r.run("supervisor", "--run", "/r", "x")
	if strings.Join(got, " ") != "--run /r x" || lastMessage(res.errout) != "supervisor: no runtime" {
		t.Errorf("supervisor got %q: %s", got, res.errout)
	}
}

func TestUnit(t *testing.T) {
	r := newRig(t)
	out := r.ok("agent", "install", "--print", "--http", ":8080", "--label", "a=100%", "--label", "b=two words", "--access-log")
	_, rest, _ := strings.Cut(out, "ExecStart=")
	_, words, _ := strings.Cut(strings.SplitN(rest, "\n", 2)[0], " ")
	if words != `agent --access-log=true --http=:8080 --label=a=100%% "--label=b=two words"` {
		t.Errorf("the unit runs %s", words)
	}
	if !strings.Contains(out, "KillMode=process\n") {
		t.Errorf("systemd would kill containers with the agent:\n%s", out)
	}
}
