package e2e

import (
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
		a.Eventually(20*time.Second, "the killed replica is replaced", func() error {
			ready := a.ready("web")
			if len(ready) != 3 || slices.ContainsFunc(ready, func(r api.ReplicaView) bool { return r.ID == victim.ID }) {
				return fmt.Errorf("ready: %v", ready)
			}
			return nil
		})
	})
}

func TestBadReleaseGoesBackByItself(t *testing.T) {
	a := deploy(t, started(t), serverApp(t, 3, `VERSION=good`, ""))
	a.waitReady("web", 3)
	for _, tc := range []struct{ name, env, reason string }{
		{"exits at once", `VERSION=bad, EXIT=3`, "exited with code 3"},
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
	const replicas = 11
	a := deploy(t, started(t), serverApp(t, replicas, `VERSION=one`, ""))
	var took []time.Duration
	for _, victim := range a.waitReady("web", replicas) {
		at := time.Now()
		a.Kill(victim.Status.PID)
		a.Eventually(20*time.Second, "a replacement is ready", func() error {
			for _, r := range a.ready("web") {
				if r.Slot == victim.Slot && r.ID != victim.ID {
					took = append(took, r.Status.ReadyAt.Sub(at))
					return nil
				}
			}
			return fmt.Errorf("none yet")
		})
	}
	slices.Sort(took)
	t.Logf("kill -9 to the replacement's first answered health check: median %s, max %s", took[len(took)/2], took[len(took)-1])
}
