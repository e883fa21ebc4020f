package api

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func linesAt(replica string, times ...int) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		for i, at := range times {
			if !yield(LogLine{Replica: replica, Time: time.Unix(int64(at), 0), Text: fmt.Sprint(replica, i)}, nil) {
				return
			}
		}
	}
}

func failing(err error) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) { yield(LogLine{}, err) }
}

func TestMergeLogs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		sources []iter.Seq2[LogLine, error]
		want    string
	}{
		{"none", nil, ""},
		{"by time", []iter.Seq2[LogLine, error]{linesAt("a", 1, 4, 9), linesAt("b", 2, 3, 10), linesAt("c")}, "a0 b0 b1 a1 a2 b2"},
		{"equal times in the order of the sources", []iter.Seq2[LogLine, error]{linesAt("a", 1, 1), linesAt("b", 1, 1)}, "a0 a1 b0 b1"},
		{"a clock that went back", []iter.Seq2[LogLine, error]{linesAt("a", 5, 1, 6), linesAt("b", 4, 7)}, "b0 a0 a1 a2 b1"},
	} {
		var got []string
		for l, err := range mergeLogs(tt.sources) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, l.Text)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
}

func TestMergeStopsAtAnError(t *testing.T) {
	n := 0
	var last error
	for _, err := range mergeLogs([]iter.Seq2[LogLine, error]{linesAt("a", 1, 2), failing(fmt.Errorf("disk"))}) {
		n, last = n+1, err
	}
	if last == nil || n != 1 {
		t.Errorf("%d values, the last with %v", n, last)
	}
}

// TestMergeProperties: whatever the sources, no line is lost, each source keeps its order, and sources that are in
// order give a whole that is.
func TestMergeProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var sources []iter.Seq2[LogLine, error]
		total := 0
		for s := range r.IntN(6) {
			times := make([]int, r.IntN(30))
			for i := range times {
				times[i] = r.IntN(20)
			}
			slices.Sort(times)
			total += len(times)
			sources = append(sources, linesAt(fmt.Sprintf("s%d-", s), times...))
		}
		next, last, n := map[string]int{}, time.Time{}, 0
		for l, err := range mergeLogs(sources) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			if want := fmt.Sprint(l.Replica, next[l.Replica]); l.Text != want {
				t.Fatalf("%s before %s", l.Text, want)
			}
			next[l.Replica]++
			if l.Time.Before(last) {
				t.Fatalf("%s goes back in time", l.Text)
			}
			last = l.Time
		}
		if n != total {
			t.Fatalf("%d lines of %d", n, total)
		}
	}
}
