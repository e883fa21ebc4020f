// Command gateway measures the gateway's HTTP data paths against nginx and HAProxy on this machine, in one run, with the
// candidates taking turns. The figure to trust is CPU: seconds of user and system time of the proxy's processes per
// 100,000 requests. It needs root, nginx, haproxy, wrk and taskset.
//
//	go run ./bench/gateway [-rounds 5] [-seconds 3] [-conns 64,512] [-sizes 200,16384] [-engines loops,std] [-websockets 5000]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench gateway:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "serve" {
		return serve(ctx, args[1:])
	}
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	rounds := flags.Int("rounds", 5, "rounds; the median is printed")
	seconds := flags.Int("seconds", 3, "length of one measurement")
	conns := flags.String("conns", "64,512", "client connections")
	sizes := flags.String("sizes", "200,16384", "sizes of the response's body")
	engines := flags.String("engines", "loops,std", "data paths of the gateway")
	sockets := flags.Int("websockets", 0, "measure the memory of that many idle WebSockets instead")
	if err := flags.Parse(args); err != nil {
		return err
	}
	counts, err := numbers(*conns)
	if err != nil {
		return err
	}
	bodies, err := numbers(*sizes)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "holdfast-bench-gateway-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, length: time.Duration(*seconds) * time.Second}
	defer b.stop()
	if err := b.start(ctx, strings.Split(*engines, ","), bodies); err != nil {
		return err
	}
	if *sockets > 0 {
		return b.sockets(ctx, *sockets)
	}
	for _, size := range bodies {
		for _, n := range counts {
			if err := b.scenario(ctx, *rounds, size, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func numbers(list string) ([]int, error) {
	var all []int
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n <= 0 {
			return nil, errors.New("not a list of numbers: " + list)
		}
		all = append(all, n)
	}
	return all, nil
}
