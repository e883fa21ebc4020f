package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast/holdfast"
)

// verdictsOf runs a probe for a while over answers by the time since its start, and writes down what it says when.
func verdictsOf(t *testing.T, probe holdfast.Probe, during time.Duration, answer func(since time.Duration) error) string {
	t.Helper()
	var said strings.Builder
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), during)
		defer cancel()
		begin := time.Now()
		verdicts := make(chan verdict)
		p := prober{probe: withDefaults(probe), liveness: []bool{false}, verdicts: verdicts, ask: func(context.Context) error { return answer(time.Since(begin)) }}
		go func() { p.run(ctx); close(verdicts) }()
		for v := range verdicts {
			word := "bad"
			if v.healthy {
				word = "good"
			}
			fmt.Fprintf(&said, "%s@%s ", word, time.Since(begin).Round(100*time.Millisecond))
		}
	})
	return strings.TrimSpace(said.String())
}

func TestProber(t *testing.T) {
	second := holdfast.Duration(time.Second)
	bad := errors.New("bad")
	goodFrom := func(from time.Duration) func(time.Duration) error {
		return func(since time.Duration) error {
			if since < from {
				return bad
			}
			return nil
		}
	}
	for _, tc := range []struct {
		name   string
		probe  holdfast.Probe
		answer func(time.Duration) error
		want   string
	}{
		{"good at once", holdfast.Probe{Interval: second, Retries: 3}, goodFrom(0), "good@0s"},
		{"a start of 400ms is no failure", holdfast.Probe{Interval: second, Retries: 1}, goodFrom(400 * time.Millisecond), "good@600ms"},
		{"never good", holdfast.Probe{Interval: second, Retries: 3}, goodFrom(time.Hour), "bad@3.1s"},
		{"start period", holdfast.Probe{Interval: second, Retries: 3, StartPeriod: 10 * second}, goodFrom(9 * time.Second), "good@9.1s"},
		{"bad after the start period", holdfast.Probe{Interval: second, Retries: 2, StartPeriod: 5 * second}, goodFrom(time.Hour), "bad@6.8s"},
		{"recovers", holdfast.Probe{Interval: second, Retries: 2}, func(since time.Duration) error {
			if since > 3*time.Second && since < 8*time.Second {
				return bad
			}
			return nil
		}, "good@0s bad@4s good@8s"},
		{"one failure between successes", holdfast.Probe{Interval: second, Retries: 2}, func(since time.Duration) error {
			if int(since.Seconds())%2 == 1 {
				return bad
			}
			return nil
		}, "good@0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := verdictsOf(t, tc.probe, 12*time.Second, tc.answer); got != tc.want {
				t.Fatalf("said %q, want %q", got, tc.want)
			}
		})
	}
}
