// Command up measures how fast replicas come up: `holdfast up` of a small static Go server, from the command to all of
// them ready behind a published port, against `podman run -d` and `docker run -d` of the same server on the same machine
// in the same run. Theirs have no network and nobody waits until they answer, which spares them work. Everything runs on
// a node of its own: an agent and a Docker daemon of the host's are not touched. It needs root; podman and docker are
// left out where they are not installed.
//
//	go run ./bench/up [-replicas 100] [-peers 20] [-rounds 3]
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast/holdfast/internal/netlab"
)

func main() {
	replicas := flag.Int("replicas", 100, "replicas of holdfast up")
	peers := flag.Int("peers", 20, "containers of podman and docker")
	rounds := flag.Int("rounds", 3, "times that each is measured; the median is printed")
	netlab.Program("bench up", func(t netlab.TB) {
		flag.Parse()
		server := buildServer(t)
		own := holdfast(t, *replicas, *rounds)
		fmt.Printf("holdfast up, %d replicas ready: %.2f s, %.0f a second\n", *replicas, own.Seconds(), rate(*replicas, own))
		for _, p := range []peer{podman(t, server), docker(t, server)} {
			if p.missing != "" {
				fmt.Printf("%s is left out: %s\n", p.name, p.missing)
				continue
			}
			for _, atOnce := range []int{1, 4} {
				took := p.measure(t, *peers, atOnce, *rounds)
				fmt.Printf("%s run -d, %d containers, %d at a time: %.2f s, %.1f a second; holdfast up is %.0f times as fast\n",
					p.name, *peers, atOnce, took.Seconds(), rate(*peers, took), rate(*replicas, own)/rate(*peers, took))
			}
		}
	})
}

func rate(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

const serverPackage = "./internal/e2e/server"

// holdfast returns how long `holdfast up` of n replicas takes, image built and imported.
func holdfast(t netlab.TB, n, rounds int) time.Duration {
	node := netlab.New(t, "up")
	node.StartAgent()
	dir := t.TempDir()
	var times []time.Duration
	for round := range rounds + 1 {
		count := n
		if round == 0 { // builds and imports the image
			count = 1
		}
		compose := fmt.Sprintf(`name: up
services:
  web:
    x-holdfast: {go: {dir: %q, package: %s}}
    ports: ["18080:8080"]
    deploy: {replicas: %d}
`, netlab.Repository(t), serverPackage, count)
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(compose), 0o600); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		node.Holdfast(dir, "up")
		if round > 0 {
			times = append(times, time.Since(began))
		}
		wantReady(t, node, count)
		node.Holdfast(dir, "down")
	}
	return median(times)
}
