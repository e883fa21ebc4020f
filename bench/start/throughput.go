//go:build linux && amd64

package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

// throughput counts containers that are parked, started, run to their end and removed.
func throughput(ctx context.Context, dir string, image *image, length time.Duration) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintf(w, "start, run and remove\tworkers\tper second\t\n")
	for _, open := range []struct {
		name string
		open func(name string) (*own, error)
	}{
		{"in-process", func(name string) (*own, error) { return inProcess(dir, name, image) }},
		{"supervisor", func(name string) (*own, error) { return bySocket(ctx, dir, name, image) }},
	} {
		for _, workers := range []int{4, 8} {
			o, err := open.open(fmt.Sprintf("many-%s-%d", open.name, workers))
			if err != nil {
				return err
			}
			rate, err := churn(ctx, o, workers, length)
			if cerr := o.close(); err == nil {
				err = cerr
			}
			if err != nil {
				return fmt.Errorf("%s with %d workers: %w", open.name, workers, err)
			}
			fmt.Fprintf(w, "%s\t%d\t%.0f\t\n", open.name, workers, rate)
		}
	}
	return nil
}

func churn(ctx context.Context, o *own, workers int, length time.Duration) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var count atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for time.Since(began) < length && ctx.Err() == nil {
				if _, err := o.start(ctx); err != nil {
					cancel(err)
					return
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	return float64(count.Load()) / time.Since(began).Seconds(), nil
}
