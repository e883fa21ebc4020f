package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

type bench struct {
	dir     string
	length  time.Duration
	proxies []*proxy // the backend first
}

// result is one measurement of one candidate.
type result struct {
	cpu  float64 // seconds per 100,000 requests
	rate float64 // requests per second
	p99  time.Duration
	rss  int64 // bytes, after it
}

// scenario measures all candidates in turns, and prints the medians and their ratios to nginx.
func (b *bench) scenario(ctx context.Context, rounds, size, conns int) error {
	candidates := b.proxies[1:]
	all := make([][]result, len(candidates))
	for range rounds {
		for i, p := range candidates {
			r, err := b.measure(ctx, p, size, conns)
			if err != nil {
				return fmt.Errorf("measure %s: %w", p.name, err)
			}
			all[i] = append(all[i], r)
		}
	}
	fmt.Printf("\n%d bytes, %d connections, median of %d rounds of %v\n", size, conns, rounds, b.length)
	fmt.Printf("%-16s %12s %8s %12s %8s %10s %8s\n", "", "CPU s/100k", "÷ nginx", "requests/s", "÷ nginx", "p99", "RSS MB")
	base := median(all[0])
	for i, p := range candidates {
		m := median(all[i])
		fmt.Printf("%-16s %12.3f %8.2f %12.0f %8.2f %10v %8.1f\n",
			p.name, m.cpu, m.cpu/base.cpu, m.rate, m.rate/base.rate, m.p99.Round(10*time.Microsecond), float64(m.rss)/1e6)
	}
	return nil
}

func median(all []result) result {
	pick := func(key func(result) float64) float64 {
		v := make([]float64, len(all))
		for i, r := range all {
			v[i] = key(r)
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return result{
		cpu:  pick(func(r result) float64 { return r.cpu }),
		rate: pick(func(r result) float64 { return r.rate }),
		p99:  time.Duration(pick(func(r result) float64 { return float64(r.p99) })),
		rss:  int64(pick(func(r result) float64 { return float64(r.rss) })),
	}
}

func (b *bench) measure(ctx context.Context, p *proxy, size, conns int) (result, error) {
	before, _, err := usage(p.cmd.Process.Pid)
	if err != nil {
		return result{}, err
	}
	out, err := exec.CommandContext(ctx, "taskset", "-c", loadCPU, "wrk", "--latency", "-t1",
		"-c"+strconv.Itoa(conns), fmt.Sprintf("-d%ds", int(b.length.Seconds())),
		fmt.Sprintf("http://127.0.0.1:%d/%d", p.port, size)).CombinedOutput()
	if err != nil {
		return result{}, fmt.Errorf("run wrk: %w: %s", err, out)
	}
	after, rss, err := usage(p.cmd.Process.Pid)
	if err != nil {
		return result{}, err
	}
	r, requests, err := parseWrk(string(out))
	r.cpu, r.rss = (after-before).Seconds()/float64(requests)*1e5, rss
	return r, err
}

var (
	wrkRequests = regexp.MustCompile(`(\d+) requests in`)
	wrkRate     = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrk99       = regexp.MustCompile(`99%\s+([\d.]+\w+)`)
)

func parseWrk(out string) (r result, requests int, err error) {
	if strings.Contains(out, "Non-2xx") || strings.Contains(out, "Socket errors") {
		return r, 0, errors.New("requests failed: " + out)
	}
	field := func(re *regexp.Regexp) string {
		if m := re.FindStringSubmatch(out); m != nil {
			return m[1]
		}
		err = errors.Join(err, fmt.Errorf("no %s in wrk's output: %s", re, out))
		return "0"
	}
	requests, _ = strconv.Atoi(field(wrkRequests))
	r.rate, _ = strconv.ParseFloat(field(wrkRate), 64)
	r.p99, _ = time.ParseDuration(field(wrk99))
	return r, requests, err
}

// usage returns the CPU time and resident memory of a process and its children.
func usage(pid int) (cpu time.Duration, rss int64, err error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	for _, i := range []int{11, 12} {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		cpu += time.Duration(n) * tick
	}
	pages, _ := strconv.ParseInt(fields[21], 10, 64)
	rss = pages * int64(os.Getpagesize())
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range children {
		list, _ := os.ReadFile(path) // a thread that ended has none
		for _, child := range strings.Fields(string(list)) {
			n, _ := strconv.Atoi(child)
			more, moreRSS, err := usage(n)
			if err != nil {
				return 0, 0, err
			}
			cpu, rss = cpu+more, rss+moreRSS
		}
	}
	return cpu, rss, nil
}
