package network

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"
)

const crashEnv = "HOLDFAST_TEST_CRASH"

// crashTable is the i-th of the tables that the agent of TestCrashDuringApply goes through: services come and go, and
// so do their replicas.
func crashTable(i int) Table {
	t := bigTable(200)
	for j := range t.Endpoints {
		t.Endpoints[j].Ready = (i+j)%3 != 0
	}
	t.Endpoints = t.Endpoints[:100+i%100]
	t.Services = t.Services[:10+i%10]
	t.HostPorts = []HostPort{{Port: uint16(8000 + i%10), Protocol: "tcp", To: []netip.AddrPort{netip.AddrPortFrom(t.Endpoints[0].Addrs["front"], 80)}}}
	return t
}

// An agent is killed at any moment of its work, again and again: what it leaves is one of its tables, never a mixture,
// and the next agent goes on from there.
func TestCrashDuringApply(t *testing.T) {
	if os.Getenv(crashEnv) != "" {
		applyForever(t)
	}
	if !onNode(t) {
		return
	}
	for round := range 8 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestCrashDuringApply$")
		cmd.Env = append(os.Environ(), crashEnv+"=1")
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for range 2 + round { // some tables later
			lines.Scan()
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()

		left := ruleset{table: "holdfast", prefix: "hfv-", dnsPort: 53}
		must(t, left.refresh())
		if !left.intact || !isOneOfTheTables(left.have) {
			t.Fatalf("round %d: the rules are those of no table (intact %v)", round, left.intact)
		}
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/16", false)
	n.service("web", on("front", "10.208.15.254"))
	client := n.replica("client", 1, "front=10.208.0.100")
	n.replica("web", 1, "front=10.208.0.1").echo("web", 80)
	n.apply()
	reaches(t, client, "10.208.15.254:80", "web", "10.208.0.100")
}

func applyForever(t *testing.T) {
	n := newNode(t)
	for i := 0; ; i++ {
		must(t, n.Apply(t.Context(), crashTable(i)))
		fmt.Println(i)
	}
}

func isOneOfTheTables(have contents) bool {
	for i := range 300 {
		if del, add := diff(have, desired(crashTable(i))); len(del)+len(add) == 0 {
			return true
		}
	}
	return false
}
