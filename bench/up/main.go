// Command up measures how fast replicas come up: `holdfast up` of a small static Go server, from the command to all of
// them ready behind a published port, against `podman run -d` and `docker run -d` of the same server on the same machine,
// taking turns. Nobody waits until theirs answer, and podman's have no network, which spares them work. Everything runs
// on nodes of its own: an agent and a Docker daemon of the host's are not touched. It needs root; podman and docker are
// left out where they are not installed.
//
//	go run ./bench/up [-replicas 100] [-peers 20] [-rounds 5]
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/holdfast/holdfast/internal/netlab"
)

// contender is one way to start n containers.
type contender struct {
	name  string
	n     int
	start func() time.Duration // starts n, and removes them after the measurement
	times []time.Duration
}

// rate is how many containers a second came up in the median round.
func (c *contender) rate() float64 {
	slices.Sort(c.times)
	return float64(c.n) / c.times[len(c.times)/2].Seconds()
}

func main() {
	replicas := flag.Int("replicas", 100, "replicas of holdfast up")
	peers := flag.Int("peers", 20, "containers of podman and docker")
	rounds := flag.Int("rounds", 5, "times that each is measured; the median is printed")
	netlab.Program("bench up", func(t netlab.TB) {
		flag.Parse()
		contenders := []*contender{holdfast(t, *replicas)}
		server := buildServer(t)
		for _, p := range []peer{podman(t, server), docker(t, server)} {
			contenders = append(contenders, p.contenders(t, *peers)...)
		}
		for round := range *rounds + 1 {
			for _, c := range contenders {
				if took := c.start(); round > 0 { // the first is to warm up
					c.times = append(c.times, took)
				}
			}
		}
		report(contenders)
	})
}

func report(contenders []*contender) {
	own := contenders[0].rate()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintf(w, "\tcontainers\tseconds, median\ta second\tholdfast up is faster by\t\n")
	for _, c := range contenders {
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%.1f\t%.1f\t\n", c.name, c.n, float64(c.n)/c.rate(), c.rate(), own/c.rate())
	}
}

const serverPackage = "./internal/e2e/server"

// holdfast is `holdfast up` of an image that the node has.
func holdfast(t netlab.TB, n int) *contender {
	node := netlab.New(t, "up")
	node.StartAgent()
	dir := t.TempDir()
	up := func(image string, replicas int) (took time.Duration, pinned string) {
		compose := fmt.Sprintf("name: up\nservices:\n  web:\n    %s\n    ports: [\"18080:8080\"]\n    deploy: {replicas: %d}\n", image, replicas)
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(compose), 0o600); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		node.Holdfast(dir, "up")
		took = time.Since(began)
		pinned = wantReady(t, node, replicas)
		node.Holdfast(dir, "down")
		return took, pinned
	}
	_, image := up(fmt.Sprintf("x-holdfast: {go: {dir: %q, package: %s}}", netlab.Repository(t), serverPackage), 1)
	return &contender{name: "holdfast up, all ready", n: n, start: func() time.Duration {
		took, _ := up("image: "+image, n)
		return took
	}}
}
