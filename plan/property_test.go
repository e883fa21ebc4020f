package plan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
)

// anySnapshot returns nouns that need not fit together: as after a bug, or as an older version left them.
func anySnapshot(random *rand.Rand) []any {
	one := func(s ...string) string { return s[random.IntN(len(s))] }
	when := func() time.Time {
		if random.IntN(4) == 0 {
			return time.Time{}
		}
		return start.Add(-time.Duration(random.IntN(300)) * time.Second)
	}
	var nouns []any
	for _, id := range []string{"a", "b"} {
		if random.IntN(5) > 0 {
			n := node(id)
			n.Drained = random.IntN(4) == 0
			nouns = append(nouns, n)
		}
	}
	if random.IntN(8) > 0 {
		nouns = append(nouns, &holdfast.App{
			Name: "shop", Removing: random.IntN(6) == 0,
			Networks: map[string]holdfast.Network{"default": {Name: "shop_default", Subnet: subnet}},
			Volumes:  map[string]holdfast.Volume{"data": {Name: "shop_data"}},
		})
	}
	for _, name := range []string{"web", "db", "tidy"} {
		nouns = append(nouns, anyService(random, name, one, when)...)
	}
	for i := range random.IntN(12) {
		r := &holdfast.Replica{
			ID: fmt.Sprintf("r%d", i), App: one("shop", "shop", "shop", "gone"), Service: one("web", "db", "tidy"), Release: random.IntN(5),
			Slot: random.IntN(4), Node: one("a", "b", "c"), Desired: holdfast.Desired(one("run", "run", "stop")), Created: when(),
			Successor: random.IntN(3), StopWhy: one("", "scaled down"),
		}
		nouns = append(nouns, r)
		if random.IntN(5) > 0 {
			nouns = append(nouns, &holdfast.Status{
				ID: one(r.ID, r.ID, r.ID, "stray"), Node: r.Node, Ready: random.IntN(2) == 0, Since: when(), Started: when(), ReadyAt: when(), Finished: when(),
				State:    holdfast.State(one("assigned", "preparing", "starting", "running", "draining", "stopping", "stopped", "failed")),
				ExitCode: []int{0, 1, 137}[random.IntN(3)], OOM: random.IntN(8) == 0,
			})
		}
	}
	return nouns
}

func anyService(random *rand.Rand, name string, one func(...string) string, when func() time.Time) []any {
	svc := &holdfast.Service{
		App: "shop", Name: name, Release: random.IntN(4), Stable: random.IntN(4), Last: 3, Paused: random.IntN(6) == 0, Removing: random.IntN(8) == 0,
		Rollout: holdfast.Rollout{
			From: random.IntN(4), To: random.IntN(4), Failed: random.IntN(3), Started: when(), Changed: when(),
			Phase: holdfast.Phase(one("", "rolling", "monitoring", "done", "rolling-back", "rolled-back", "halted")),
		},
		Backoff: holdfast.Backoff{Failures: random.IntN(60), Until: when()},
		Run:     holdfast.JobRun{Requested: random.IntN(3), Started: random.IntN(3), LastFire: when()},
	}
	if random.IntN(3) == 0 {
		n := random.IntN(4)
		svc.Scale = &n
	}
	nouns := []any{svc}
	for number := range 5 {
		if random.IntN(5) == 0 {
			continue
		}
		sp := spec(name, func(s *holdfast.Spec) {
			s.Replicas = random.IntN(4)
			s.Mode = holdfast.Mode(one("replicated", "replicated", "global", "job"))
			s.Kind = holdfast.Kind(one("stateless", "stateful"))
			s.Update.Order, s.Update.Parallelism = one("start-first", "stop-first"), random.IntN(3)
			s.Update.FailureAction = one("", "rollback", "pause", "continue")
			s.Restart.Condition, s.Restart.MaxAttempts = one("any", "on-failure", "none"), random.IntN(3)
			s.Triggers = []holdfast.Trigger{{Cron: one("* * * * *", "@daily", "nonsense"), Concurrency: one("", "forbid", "queue"), MissedFires: one("one", "skip")}}
			s.DependsOn = []holdfast.Dependency{{Service: one("web", "db", "tidy", "gone"), Condition: one("started", "healthy", "completed")}}
			s.Networks = []holdfast.Attachment{{Network: one("default", "gone")}}
			s.Mounts = []holdfast.Mount{{Type: "volume", Source: one("data", "", "gone")}}
			s.NetworkMode = one("", "", "", "host", "service:db")
		})
		nouns = append(nouns, &holdfast.Release{App: "shop", Service: name, Number: number, Spec: sp})
	}
	return nouns
}

// planAny checks what holds for every snapshot, however odd: Plan ends, does the same again for the same seed, names a
// later time, and comes to rest.
func planAny(t *testing.T, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	nouns := anySnapshot(random)
	snap := store.NewSnapshot(1, nouns...)
	ids := func() *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
	one, next := plan.Plan(snap, start, ids())
	two, _ := plan.Plan(snap, start, ids())
	if !slices.EqualFunc(one, two, func(a, b plan.Action) bool { return a.String() == b.String() }) {
		t.Errorf("seed %d: two plans of one snapshot differ:\n%v\n%v", seed, one, two)
	}
	if !next.IsZero() && !next.After(start) {
		t.Errorf("seed %d: to be planned again at %v, which is past", seed, next)
	}
	w := newWorld(t)
	w.put(nouns...)
	w.plan()
}

func TestPlanOfAnySnapshot(t *testing.T) {
	for seed := range uint64(400) {
		planAny(t, seed)
		if t.Failed() {
			return
		}
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { planAny(t, seed) })
}
