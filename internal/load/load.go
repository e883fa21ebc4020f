// Package load is an open-loop load generator: requests start at their time whether or not earlier ones were answered,
// as those of many independent clients do, so that a stall shows as latency and not as a lower rate (Schroeder et al.,
// "Open Versus Closed: A Cautionary Tale", NSDI 2006).
package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Result of a run.
type Result struct {
	Sent      int
	Failed    int
	Failures  map[string]int // by error text, at most maxKinds of them
	Latencies []time.Duration
}

const maxKinds = 20

// Quantile returns the latency that a share q of all answered requests did not exceed.
func (r *Result) Quantile(q float64) time.Duration {
	if len(r.Latencies) == 0 {
		return 0
	}
	slices.Sort(r.Latencies)
	return r.Latencies[min(len(r.Latencies)-1, int(q*float64(len(r.Latencies))))]
}

func (r *Result) String() string {
	return fmt.Sprintf("%d requests, %d failed %v, p50 %s, p99 %s, max %s", r.Sent, r.Failed, r.Failures,
		r.Quantile(0.5).Round(10*time.Microsecond), r.Quantile(0.99).Round(10*time.Microsecond), r.Quantile(1).Round(10*time.Microsecond))
}

// Run calls ask rate times a second until ctx ends, waits for the last answers, and returns what came of it.
func Run(ctx context.Context, rate float64, ask func(context.Context) error) *Result {
	result := &Result{Failures: map[string]int{}}
	var mu sync.Mutex
	var asks sync.WaitGroup
	// One that was begun is finished, within its own limits, also when the run is over.
	finish := context.WithoutCancel(ctx)
	begin := time.Now()
	for n := 0; ; n++ {
		due := begin.Add(time.Duration(float64(n) / rate * float64(time.Second)))
		if !waitUntil(ctx, due) {
			break
		}
		result.Sent++
		asks.Go(func() {
			err := ask(finish)
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			result.take(err, took)
		})
	}
	asks.Wait()
	return result
}

func (r *Result) take(err error, took time.Duration) {
	if err == nil {
		r.Latencies = append(r.Latencies, took)
		return
	}
	r.Failed++
	if len(r.Failures) < maxKinds || r.Failures[err.Error()] > 0 {
		r.Failures[err.Error()]++
	}
}

func waitUntil(ctx context.Context, due time.Time) bool {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Get returns an ask that GETs url and fails unless the answer is a whole 200.
func Get(client *http.Client, url string, header http.Header) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		for name, values := range header {
			req.Header[name] = values
		}
		if host := header.Get("Host"); host != "" {
			req.Host = host
		}
		resp, err := client.Do(req)
		if err != nil {
			return errors.Unwrap(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answered %d: %.80s", resp.StatusCode, body)
		}
		return nil
	}
}
