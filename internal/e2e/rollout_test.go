package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/api"
)

func TestNoRequestFailsWhileReplicasChange(t *testing.T) {
	a := deploy(t, started(t), serverApp(t, 3, `VERSION=one`, ""))
	a.waitReady("web", 3)
	a.underLoad(200, "/slow?ms=20", func() {
		a.write(serverApp(t, 3, `VERSION=two`, ""))
		a.run("up")
		if body := a.mustGet("/"); !strings.HasPrefix(body, "two ") {
			t.Errorf("after the update GET / answered %q", body)
		}
		a.run("rollback", "web")
		if body := a.mustGet("/"); !strings.HasPrefix(body, "one ") {
			t.Errorf("after the rollback GET / answered %q", body)
		}
		for _, n := range []int{2, 6, 2, 3} {
			a.run("scale", fmt.Sprintf("web=%d", n))
			a.waitReady("web", n)
		}
		victim := a.ready("web")[0]
		a.Kill(victim.Status.PID)
		a.waitReplaced(victim, 3)
	})
}

func TestBadReleaseGoesBackByItself(t *testing.T) {
	a := deploy(t, started(t), serverApp(t, 3, `VERSION=good`, ""))
	a.waitReady("web", 3)
	for _, tc := range []struct{ name, env, reason string }{
		{"exits at once", `VERSION=bad, EXIT=3`, "exited with code 3"},
		{"never listens", `VERSION=bad, DEAF=1`, "connection refused"},
		{"answers 500 to its health check", `VERSION=bad, UNHEALTHY=1`, "GET /healthz answered 500"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := app{a.Node, a.dir}
			a.T = t
			a.underLoad(100, "/", func() {
				a.write(serverApp(t, 3, tc.env, ""))
				r := a.Try(a.dir, "up")
				if r.Code != 6 {
					t.Errorf("up exited with %d, want 6: %s%s", r.Code, r.Out, r.Err)
				}
				if !strings.Contains(r.Out+r.Err, tc.reason) {
					t.Errorf("up does not say %q: %s%s", tc.reason, r.Out, r.Err)
				}
				if ready := a.ready("web"); len(ready) < 2 {
					t.Errorf("only %d old replicas are left", len(ready))
				}
			})
			a.waitReady("web", 3)
			if body := a.mustGet("/"); !strings.HasPrefix(body, "good ") {
				t.Errorf("GET / answered %q", body)
			}
		})
	}
}

// The figure is logged; docs/performance.md has it.
func TestKilledReplicaIsReplacedAtOnce(t *testing.T) {
	const replicas = 21
	a := deploy(t, started(t), serverApp(t, replicas, `VERSION=one`, ""))
	var all []replacement
	for _, victim := range a.waitReady("web", replicas) {
		all = append(all, a.replace(victim))
	}
	for _, leg := range []struct {
		what string
		took func(r replacement) time.Duration
	}{
		{"kill -9 to the replacement's first answered health check", func(r replacement) time.Duration { return r.ready.Sub(r.killed) }},
		{"  kill to the exit seen", func(r replacement) time.Duration { return r.finished.Sub(r.killed) }},
		{"  to the replacement decided", func(r replacement) time.Duration { return r.created.Sub(r.finished) }},
		{"  to its first instruction", func(r replacement) time.Duration { return r.started.Sub(r.created) }},
		{"  to its first answered health check", func(r replacement) time.Duration { return r.ready.Sub(r.started) }},
	} {
		slices.SortFunc(all, func(x, y replacement) int { return cmp.Compare(leg.took(x), leg.took(y)) })
		t.Logf("%s: median %s, max %s", leg.what, leg.took(all[len(all)/2]).Round(100*time.Microsecond),
			leg.took(all[len(all)-1]).Round(100*time.Microsecond))
	}
}

// replacement is when what happened between the death of a replica and the readiness of its successor.
type replacement struct{ killed, finished, created, started, ready time.Time }

// replace kills a replica and waits until another is ready in its slot.
func (a app) replace(victim api.ReplicaView) replacement {
	a.T.Helper()
	r := replacement{killed: a.Kill(victim.Status.PID)}
	a.Eventually(20*time.Second, "a replacement is ready", func() error {
		for _, now := range a.replicas(victim.Service, true) {
			switch {
			case now.ID == victim.ID:
				r.finished = now.Status.Finished
			case now.Slot == victim.Slot && now.Status.Ready:
				r.created, r.started, r.ready = now.Created, now.Status.Started, now.Status.ReadyAt
			}
		}
		if r.ready.IsZero() {
			return errors.New("none yet")
		}
		return nil
	})
	return r
}
