package api

import (
	"container/heap"
	"iter"
	"time"
)

// mergeLogs yields the lines of all logs by time. Each source is in order by itself; lines of equal time come in the order
// of the sources.
func mergeLogs(sources []iter.Seq2[LogLine, error]) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		h := logHeap{}
		for i, source := range sources {
			next, stop := iter.Pull2(source)
			defer stop()
			if line, err, ok := next(); ok {
				h = append(h, &logHead{line: line, err: err, order: i, next: next})
			}
		}
		heap.Init(&h)
		for len(h) > 0 {
			head := h[0]
			if !yield(head.line, head.err) || head.err != nil {
				return
			}
			line, err, ok := head.next()
			if !ok {
				heap.Pop(&h)
				continue
			}
			// A line that claims to be older than the one before it comes right behind it.
			if line.Time.Before(head.line.Time) {
				head.floor = maxTime(head.floor, head.line.Time)
			}
			head.line, head.err = line, err
			heap.Fix(&h, 0)
		}
	}
}

// logHead is the next line of one log.
type logHead struct {
	line  LogLine
	err   error
	order int
	floor time.Time // the latest time of its lines so far, when they went back
	next  func() (LogLine, error, bool)
}

func (h *logHead) at() time.Time { return maxTime(h.line.Time, h.floor) }

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

type logHeap []*logHead

func (h logHeap) Len() int      { return len(h) }
func (h logHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *logHeap) Push(x any)   { *h = append(*h, x.(*logHead)) }

func (h logHeap) Less(i, j int) bool {
	if c := h[i].at().Compare(h[j].at()); c != 0 {
		return c < 0
	}
	return h[i].order < h[j].order
}

func (h *logHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
