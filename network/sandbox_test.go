package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/holdfast/holdfast"
)

func TestConnectAgainWithOtherAddresses(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	a := n.replica("a", 1, "front=10.208.0.1")
	b := n.replica("b", 1, "front=10.208.0.2")
	b.echo("b", 80)
	for range 2 {
		must(t, n.Connect(context.Background(), Endpoint{Sandbox: b.id, NetNS: b.path(), Attachments: []Attachment{
			{Network: "front", Subnet: n.subnet("front"), Addr: netip.MustParseAddr("10.208.0.7")},
		}}))
	}
	n.table.Endpoints[1].Addrs["front"] = netip.MustParseAddr("10.208.0.7")
	n.apply()
	reaches(t, a, "10.208.0.7:80", "b", "10.208.0.1")
	unreachable(t, a, "10.208.0.2:80")
	err := n.Connect(context.Background(), Endpoint{Sandbox: "never", Replica: "r"})
	if !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("connect of a sandbox that was not prepared: %v", err)
	}
	must(t, n.Release(context.Background(), "never"))
}

// An address goes from a dying replica to a new one while the dying one is still there.
func TestAddressIsTakenOver(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	a := n.replica("a", 1, "front=10.208.0.1")
	old := n.replica("b", 1, "front=10.208.0.2")
	fresh := n.replica("b", 1, "front=10.208.0.2")
	fresh.echo("fresh", 80)
	must(t, n.Release(context.Background(), old.id))
	n.table.Endpoints = slices.Delete(n.table.Endpoints, 1, 2)
	n.apply()
	reaches(t, a, "10.208.0.2:80", "fresh", "10.208.0.1")
}

func TestReplicaWithoutRootListensOnLowPorts(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	a := n.replica("a", 1, "front=10.208.0.1")
	cmd := exec.Command("nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", syscall.Getpid(), int(a.ns)), "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
	out, err := cmd.Output()
	if err != nil || strings.TrimSpace(string(out)) != "0" {
		t.Errorf("ip_unprivileged_port_start is %q, %v", out, err)
	}
}

// Something keeps a released sandbox's namespace alive: its link goes all the same, and no other one.
func TestReleasedLinkIsDeleted(t *testing.T) {
	if !onNode(t) {
		return
	}
	n := newNode(t)
	n.net("front", "10.208.0.0/20", false)
	dead := n.replica("dead", 1, "front=10.208.0.1")
	orphan := n.replica("orphan", 1, "front=10.208.0.2")
	live := n.replica("live", 1, "front=10.208.0.3")
	must(t, n.Release(context.Background(), dead.id))
	must(t, n.Close())
	n.open()
	if _, err := n.Adopt(context.Background(), []string{live.id}); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(5 * time.Second)
	for _, b := range []*box{dead, orphan} {
		for {
			if _, err := netlink.LinkByName(n.linkName(b.id)); err != nil {
				break
			}
			select {
			case <-deadline:
				t.Fatal("a released link is still there")
			case <-time.After(time.Millisecond):
			}
		}
	}
	if _, err := netlink.LinkByName(n.linkName(live.id)); err != nil {
		t.Errorf("the live one: %v", err)
	}
}
