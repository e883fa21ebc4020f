package netlab

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestAProgramCleansUpAfterAFailure(t *testing.T) {
	p := &program{name: "try", ctx: t.Context()}
	var order []string
	var dir string
	p.run(func(tb TB) {
		dir = tb.TempDir()
		tb.Cleanup(func() { order = append(order, "first made") })
		tb.Cleanup(func() { order = append(order, "last made") })
		tb.Fatalf("as %s", "asked")
		order = append(order, "went on")
	})
	if !p.Failed() || len(order) != 2 || order[0] != "last made" {
		t.Errorf("failed %t, did %q", p.Failed(), order)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its directory is left: %v", err)
	}
}

func TestANodeHasItsOwnNetwork(t *testing.T) {
	n := New(t, "lone")
	links := n.Output("ip", "-o", "link")
	if links == "" || n.Output("sh", "-c", "ip -o link | wc -l") != "1\n" {
		t.Errorf("its links are %s", links)
	}
	n.PowerOff()
	n.Boot()
	if out := n.Output("cat", "/proc/1/comm"); out == "" {
		t.Error("no first process after a boot")
	}
}
