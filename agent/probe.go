package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// verdict is what a probe says after its threshold of successes or failures in a row.
type verdict struct {
	liveness bool // of the liveness probe; else of readiness
	healthy  bool
	detail   string // why not
}

// prober asks one replica one probe again and again.
type prober struct {
	probe    holdfast.Probe
	liveness []bool // which of the verdicts it gives
	ask      func(ctx context.Context) error
	verdicts chan<- verdict
}

// firstAsk is the wait before the first ask; the waits grow by half up to the start interval, so that a server is found
// ready within milliseconds, or a third of the time that it takes.
const firstAsk = time.Millisecond

// run asks until ctx ends. It reports each change of verdict: the first success at once, and failures when Retries of
// them were counted in a row. One failure counts per Interval, the first not before one has passed, and none of those
// within StartPeriod before a first success: a server that is asked every millisecond of its start is not unhealthy yet.
func (p *prober) run(ctx context.Context) {
	counted := time.Now()
	grace := counted.Add(p.probe.StartPeriod.Std())
	failures, known, healthy := 0, false, false
	wait := firstAsk
	for sleep(ctx, wait) {
		err := p.askOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		switch {
		case err == nil:
			failures, counted = 0, now
			if !known || !healthy {
				known, healthy = true, true
				p.tell(ctx, verdict{healthy: true})
			}
		case !known && now.Before(grace):
			counted = now
		case now.Sub(counted) >= p.probe.Interval.Std():
			failures, counted = failures+1, now
			if failures >= max(p.probe.Retries, 1) && (!known || healthy) {
				known, healthy = true, false
				p.tell(ctx, verdict{detail: err.Error()})
			}
		}
		wait = p.nextWait(wait, known)
	}
}

func (p *prober) nextWait(last time.Duration, known bool) time.Duration {
	if known {
		return p.probe.Interval.Std()
	}
	limit := p.probe.StartInterval.Std()
	if limit <= 0 {
		limit = p.probe.Interval.Std()
	}
	return min(last+last/2, limit)
}

func (p *prober) askOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.probe.Timeout.Std())
	defer cancel()
	err := p.ask(ctx)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", p.probe.Timeout)
	}
	return err
}

func (p *prober) tell(ctx context.Context, v verdict) {
	for _, v.liveness = range p.liveness {
		select {
		case p.verdicts <- v:
		case <-ctx.Done():
		}
	}
}

// sleep waits for d; false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func askTCP(addr netip.Addr, port uint16) func(context.Context) error {
	target := netip.AddrPortFrom(addr, port).String()
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
		if err != nil {
			return fmt.Errorf("tcp port %d: %w", port, cause(err))
		}
		return conn.Close()
	}
}

// cause strips the addresses that the net package puts before an error.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func askHTTP(addr netip.Addr, probe holdfast.HTTPProbe) func(context.Context) error {
	transport := &http.Transport{DisableKeepAlives: true, Proxy: nil}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	path := "/" + strings.TrimPrefix(probe.Path, "/")
	url := "http://" + net.JoinHostPort(addr.String(), strconv.Itoa(int(probe.Port))) + path
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("make request: %w", err)
		}
		req.Header.Set("User-Agent", "holdfast-health")
		if probe.Host != "" {
			req.Host = probe.Host
		}
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("GET %s: %w", path, cause(err))
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) //nolint:errcheck // the status has decided
		if resp.StatusCode < 200 || resp.StatusCode > 399 {
			return fmt.Errorf("GET %s answered %d", path, resp.StatusCode)
		}
		return nil
	}
}

func askExec(runtime container.Runtime, id string, args []string) func(context.Context) error {
	return func(ctx context.Context) error {
		code, output, err := runIn(ctx, runtime, id, container.ExecSpec{Args: args})
		if err != nil {
			return fmt.Errorf("run %s: %w", args[0], err)
		}
		if code != 0 {
			return fmt.Errorf("%s exited with %d%s", args[0], code, lastLine(output))
		}
		return nil
	}
}

// runIn runs a command in a container to its end, or kills it when ctx ends, and returns the end of its output.
func runIn(ctx context.Context, runtime container.Runtime, id string, spec container.ExecSpec) (code int, output string, err error) {
	exec, err := runtime.Exec(ctx, id, spec)
	if err != nil {
		return 0, "", err
	}
	defer exec.Close()
	stop := context.AfterFunc(ctx, func() { exec.Close() })
	defer stop()
	if in := exec.Stdin(); in != nil {
		in.Close()
	}
	tail := &tailBuffer{limit: 4096}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if stderr := exec.Stderr(); stderr != nil {
			io.Copy(tail, stderr) //nolint:errcheck // ends with the process
		}
	}()
	io.Copy(tail, exec.Stdout()) //nolint:errcheck // ends with the process
	<-done
	code, err = exec.Wait()
	if ctx.Err() != nil {
		return 0, tail.String(), context.Cause(ctx)
	}
	return code, tail.String(), err
}

func lastLine(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" {
		return ""
	}
	if len(last) > 200 {
		last = last[:200] + "…"
	}
	return ": " + last
}
