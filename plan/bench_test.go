package plan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
)

// large is a cluster at rest: 10 nodes, 1000 services, 10 000 replicas.
func large() []any {
	nouns := []any{&holdfast.App{Name: "shop", Networks: map[string]holdfast.Network{"default": {Name: "shop_default", Subnet: subnet}}}}
	for i := range 10 {
		nouns = append(nouns, node(fmt.Sprint("n", i)))
	}
	at := start.Add(-time.Hour)
	for i := range 1000 {
		name := fmt.Sprintf("s%04d", i)
		nouns = append(nouns,
			&holdfast.Service{App: "shop", Name: name, Release: 1, Stable: 1, Last: 1, Rollout: holdfast.Rollout{To: 1, Phase: holdfast.Done}},
			&holdfast.Release{App: "shop", Service: name, Number: 1, Spec: spec(name, func(s *holdfast.Spec) { s.Replicas = 10; s.Networks = nil })})
		for slot := 1; slot <= 10; slot++ {
			id := fmt.Sprintf("shop-%s-%d-abcdef", name, slot)
			nouns = append(nouns,
				&holdfast.Replica{ID: id, App: "shop", Service: name, Release: 1, Slot: slot, Node: fmt.Sprint("n", slot%10), Desired: holdfast.Run, Created: at},
				&holdfast.Status{ID: id, Node: "a", State: holdfast.Running, Ready: true, Started: at, ReadyAt: at, Since: at})
		}
	}
	return nouns
}

func benchmark(b *testing.B, nouns []any, want int) {
	snap := store.NewSnapshot(1, nouns...)
	random := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		if actions, _ := plan.Plan(snap, start, random); len(actions) != want {
			b.Fatalf("%d actions: %v", len(actions), actions)
		}
	}
}

// BenchmarkPlanAtRest plans 1000 services with 10 000 replicas that need nothing.
func BenchmarkPlanAtRest(b *testing.B) { benchmark(b, large(), 0) }

// BenchmarkPlanOneCrash plans the same when one replica has failed: it is noted and replaced.
func BenchmarkPlanOneCrash(b *testing.B) {
	nouns := large()
	last := nouns[len(nouns)-1].(*holdfast.Status)
	last.State, last.Ready, last.ExitCode, last.Finished = holdfast.Failed, false, 1, start
	benchmark(b, nouns, 2)
}

// BenchmarkPlanDeploy plans the first 10 000 replicas.
func BenchmarkPlanDeploy(b *testing.B) {
	var nouns []any
	for _, noun := range large() {
		switch noun.(type) {
		case *holdfast.Replica, *holdfast.Status:
		default:
			nouns = append(nouns, noun)
		}
	}
	benchmark(b, nouns, 10_000)
}
