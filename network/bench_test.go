package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// p50 reports the median of took beside the mean that the benchmark prints.
func p50(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*9/10].Microseconds())/1000, "p90-ms")
}

func BenchmarkPrepare(b *testing.B) {
	if !onNode(b) {
		return
	}
	n := newNode(b)
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		box := newBox(b)
		b.StartTimer()
		start := time.Now()
		must(b, n.Prepare(context.Background(), box.id, box.path()))
		took = append(took, time.Since(start))
	}
	p50(b, took)
}

func BenchmarkConnect(b *testing.B) {
	if !onNode(b) {
		return
	}
	n := newNode(b)
	n.net("front", "10.208.0.0/16", false)
	addr := netip.MustParseAddr("10.208.0.0")
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		box := newBox(b)
		must(b, n.Prepare(context.Background(), box.id, box.path()))
		addr = addr.Next()
		b.StartTimer()
		start := time.Now()
		must(b, n.Connect(context.Background(), Endpoint{Sandbox: box.id, NetNS: box.path(), Attachments: []Attachment{
			{Network: "front", Subnet: n.table.Networks[0].Subnet, Addr: addr},
		}}))
		took = append(took, time.Since(start))
	}
	p50(b, took)
}

// bigTable has replicas in services of ten, all of them on this node and on one network.
func bigTable(replicas int) Table {
	t := Table{Networks: []Net{{Name: "front", Subnet: netip.MustParsePrefix("10.208.0.0/16")}}}
	addr := netip.MustParseAddr("10.208.0.0")
	for i := range replicas {
		addr = addr.Next()
		service := fmt.Sprint("s", i/10)
		t.Endpoints = append(t.Endpoints, Peer{
			Replica: fmt.Sprint("r", i), App: "app", Service: service, Slot: i%10 + 1, Local: true, Ready: true,
			Addrs: map[string]netip.Addr{"front": addr},
		})
		if i%10 == 0 {
			t.Services = append(t.Services, Service{App: "app", Name: service, Networks: []ServiceNet{
				{Network: "front", VIP: netip.AddrFrom4([4]byte{10, 208, 250, byte(i / 10)})},
			}})
		}
	}
	return t
}

// BenchmarkApply1000 is one replica of 1000 turning ready or unready.
func BenchmarkApply1000(b *testing.B) {
	if !onNode(b) {
		return
	}
	n := newNode(b)
	table := bigTable(1000)
	start := time.Now()
	must(b, n.Apply(context.Background(), table))
	b.Logf("first apply: %v", time.Since(start))
	var took []time.Duration
	for b.Loop() {
		table.Endpoints[500].Ready = !table.Endpoints[500].Ready
		start := time.Now()
		must(b, n.Apply(context.Background(), table))
		took = append(took, time.Since(start))
	}
	p50(b, took)
}

// BenchmarkApply1000Same is Apply with nothing to do.
func BenchmarkApply1000Same(b *testing.B) {
	if !onNode(b) {
		return
	}
	n := newNode(b)
	table := bigTable(1000)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		must(b, n.Apply(context.Background(), table))
		took = append(took, time.Since(start))
	}
	p50(b, took)
}
