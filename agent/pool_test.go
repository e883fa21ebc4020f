package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast/holdfast/container"
)

func (l *lab) parked() int {
	l.t.Helper()
	all, err := l.runtime.List(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	n := 0
	for _, s := range all {
		if s.Phase == container.Parked {
			n++
		}
	}
	return n
}

func TestPoolGrowsWithStartsAndShrinksAfter(t *testing.T) {
	inBubble(t, nil, func(l *lab) {
		if n := l.parked(); n != 1 {
			t.Fatalf("%d sandboxes are parked at rest, want PoolMin", n)
		}
		for i := range 6 {
			l.deploy(fmt.Sprintf("web-%d", i))
		}
		if n := l.parked(); n != 4 {
			t.Fatalf("%d sandboxes are parked after 6 starts, want PoolMax", n)
		}
		time.Sleep(2 * demandWindow)
		l.settle()
		if n := l.parked(); n != 1 {
			t.Fatalf("%d sandboxes are parked long after the last start, want PoolMin", n)
		}
	})
}
