package apitest

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/holdfast/holdfast/container/logs"
)

// Logs keeps lines by replica.
type Logs struct {
	mu      sync.Mutex
	lines   map[string][]logs.Entry
	ended   map[string]bool
	changed chan struct{}
}

func newLogs() *Logs {
	return &Logs{lines: map[string][]logs.Entry{}, ended: map[string]bool{}, changed: make(chan struct{})}
}

// Write adds a line.
func (l *Logs) Write(replica string, at time.Time, stream, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[replica] = append(l.lines[replica], logs.Entry{Time: at, Stream: stream, Text: text})
	close(l.changed)
	l.changed = make(chan struct{})
}

// End ends what follows the replica's log, once all of it was read.
func (l *Logs) End(replica string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[replica] = true
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Logs) from(replica string, i int) (lines []logs.Entry, ended bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[replica][i:], l.ended[replica], l.changed
}

// Logs implements api.Logs.
func (l *Logs) Logs(ctx context.Context, replica string, since time.Time, tail int, follow bool) iter.Seq2[logs.Entry, error] {
	return func(yield func(logs.Entry, error) bool) {
		all, ended, changed := l.from(replica, 0)
		next := len(all)
		var chosen []logs.Entry
		for _, e := range all {
			if !e.Time.Before(since) {
				chosen = append(chosen, e)
			}
		}
		if tail >= 0 && len(chosen) > tail {
			chosen = chosen[len(chosen)-tail:]
		}
		for {
			for _, e := range chosen {
				if !yield(e, nil) {
					return
				}
			}
			if !follow || ended {
				return
			}
			select {
			case <-ctx.Done():
				yield(logs.Entry{}, ctx.Err())
				return
			case <-changed:
			}
			chosen, ended, changed = l.from(replica, next)
			next += len(chosen)
		}
	}
}
