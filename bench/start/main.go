//go:build linux && amd64

// Command start measures how long a container takes from the request to its first instruction, from a warm image and
// with the default seccomp profile: ours in this process and through the supervisor's socket, crun, runc, podman and,
// where a daemon answers, docker. All take turns in one run; ratios are to the supervisor's median. Then it measures how
// many containers a second ours starts, runs and removes. It needs root.
//
//	go run ./bench/start [-n 50] [-seconds 5] [-only supervisor,crun]
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container/supervisor"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := run
	if len(os.Args) > 1 && os.Args[1] == "supervisor" { // this binary is the supervisor that it starts
		run = supervisor.Run
		os.Args = os.Args[1:]
	}
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench start:", err)
		os.Exit(1)
	}
}

// candidate is one way to start a container.
type candidate struct {
	name string
	// start starts a container, waits for its end and returns the time to its first instruction.
	start func(ctx context.Context) (time.Duration, error)
	close func() error

	times []time.Duration
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("start", flag.ContinueOnError)
	n := flags.Int("n", 50, "starts of each")
	seconds := flags.Int("seconds", 5, "length of each measurement of throughput; 0: none")
	only := flags.String("only", "", "comma-separated names of what to measure; all if empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hf-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	image, err := newImage(dir)
	if err != nil {
		return err
	}
	candidates, err := open(ctx, dir, image, *only)
	defer func() {
		for _, c := range candidates {
			if err := c.close(); err != nil {
				fmt.Fprintln(os.Stderr, "close", c.name+":", err)
			}
		}
	}()
	if err != nil {
		return err
	}
	if err := takeTurns(ctx, candidates, *n); err != nil {
		return err
	}
	printTimes(candidates)
	if *seconds == 0 {
		return nil
	}
	return throughput(ctx, dir, image, time.Duration(*seconds)*time.Second)
}

// open prepares all candidates that this machine has. What is missing is said.
func open(ctx context.Context, dir string, im *image, only string) ([]*candidate, error) {
	var list []*candidate
	for _, way := range []struct {
		name string
		open func(ctx context.Context, dir string, im *image) (*candidate, error)
	}{
		{"supervisor", openSupervisor},
		{"supervisor-cold", openCold},
		{"in-process", openInProcess},
		{"host-userns", openHostUserNS},
		{"crun", openCrun},
		{"runc", openRunc},
		{"podman", openPodman},
		{"docker", openDocker},
	} {
		if only != "" && !slices.Contains(strings.Split(only, ","), way.name) {
			continue
		}
		c, err := way.open(ctx, dir, im)
		if errors.Is(err, errMissing) {
			fmt.Printf("%s is left out: %v\n", way.name, err)
			continue
		}
		if err != nil {
			return list, fmt.Errorf("prepare %s: %w", way.name, err)
		}
		c.name = way.name
		list = append(list, c)
	}
	return list, nil
}

var errMissing = errors.New("not here")

// takeTurns runs each candidate n times, after two that do not count.
func takeTurns(ctx context.Context, candidates []*candidate, n int) error {
	const warmUp = 2
	for i := range n + warmUp {
		for _, c := range candidates {
			d, err := c.start(ctx)
			if err != nil {
				return fmt.Errorf("start by %s: %w", c.name, err)
			}
			if i >= warmUp {
				c.times = append(c.times, d)
			}
		}
	}
	return nil
}

func printTimes(candidates []*candidate) {
	if len(candidates) == 0 {
		return
	}
	base := percentile(candidates[0].times, 50)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintf(w, "to the first instruction\tp50 ms\tp90 ms\tp99 ms\tp50 / %s\t\n", candidates[0].name)
	for _, c := range candidates {
		p50 := percentile(c.times, 50)
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t\n", c.name, ms(p50), ms(percentile(c.times, 90)), ms(percentile(c.times, 99)), float64(p50)/float64(base))
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func percentile(list []time.Duration, p int) time.Duration {
	sorted := slices.SortedFunc(slices.Values(list), cmp.Compare)
	return sorted[(len(sorted)-1)*p/100]
}

func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // Linux has this clock
	}
	return time.Duration(ts.Nano())
}
