// Command idle measures what Holdfast costs at rest: examples/arcade runs, nobody asks for anything, and after a while
// the memory and the CPU time of each process of the node are printed. RSS counts pages that processes share in each of
// them, PSS shares them out. It needs root, and Debian's archive for the first build of the arcade's images.
//
//	go run ./bench/idle [-seconds 60]
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/internal/netlab"
)

func main() {
	seconds := flag.Int("seconds", 60, "how long to look")
	netlab.Program("bench idle", func(t netlab.TB) {
		flag.Parse()
		node := netlab.New(t, "idle")
		node.StartAgent()
		deployArcade(t, node)
		before := processesOf(t, node)
		began := time.Now()
		select {
		case <-time.After(time.Duration(*seconds) * time.Second):
		case <-t.Context().Done():
			t.Fatal("interrupted")
		}
		report(before, processesOf(t, node), time.Since(began))
	})
}

// deployArcade brings the arcade up and waits until its rollouts are over.
func deployArcade(t netlab.TB, node *netlab.Node) {
	dir := t.TempDir()
	for _, name := range []string{"db_password", "jwt_key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	override := fmt.Sprintf("secrets: {db_password: {file: %s/db_password}, jwt_key: {file: %s/jwt_key}}\n", dir, dir)
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(override), 0o600); err != nil {
		t.Fatal(err)
	}
	node.Holdfast(dir, "up", "-f", filepath.Join(netlab.Repository(t), "examples/arcade/compose.yaml"), "-f", "compose.yaml")
	client := api.Dial(node.Socket())
	defer client.Close()
	node.Eventually(time.Minute, "all releases are stable", func() error {
		app, err := client.App(t.Context(), "arcade")
		if err != nil {
			return err
		}
		for _, s := range app.Services {
			if s.Stable != s.Release {
				return fmt.Errorf("service %s is %s", s.Name, s.Rollout.Phase)
			}
		}
		return nil
	})
}

// report prints a line for each group of processes that were there all the time.
func report(before, after map[int]process, took time.Duration) {
	var groups []string
	sums := map[string]*process{}
	counts := map[string]int{}
	for _, pid := range sortedPIDs(after) {
		then, ok := before[pid]
		if !ok {
			continue
		}
		p := after[pid]
		sum := sums[p.group]
		if sum == nil {
			sum = &process{}
			sums[p.group], groups = sum, append(groups, p.group)
		}
		counts[p.group]++
		sum.rss, sum.pss, sum.anonymous, sum.cpu = sum.rss+p.rss, sum.pss+p.pss, sum.anonymous+p.anonymous, sum.cpu+p.cpu-then.cpu
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintf(w, "at rest for %.0f s\tprocesses\tRSS MiB\tPSS MiB\tanonymous MiB\tCPU %% of a core\t\n", took.Seconds())
	for _, group := range groups {
		s := sums[group]
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.2f\t\n", group, counts[group], mib(s.rss), mib(s.pss), mib(s.anonymous), 100*s.cpu.Seconds()/took.Seconds())
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
