package sim_test

import (
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/internal/sim"
	"github.com/holdfast/holdfast/store"
)

// TestFindsPlantedBugs shows that the simulation can fail: a planner that does not see the world as it is breaks the
// promise that this endangers, within a few dozen seeds.
func TestFindsPlantedBugs(t *testing.T) {
	bugs := []struct {
		name   string
		change func(noun any) any // nil leaves the noun out
		want   string
	}{
		{"takes started for ready", startedIsReady, "slots were ready"},
		{"does not see that nodes are drained", notDrained, "which is drained"},
		{"forgets which addresses are used", noAddresses, "has address"},
		{"does not see that replicas failed", noFailures, "at rest"},
		{"takes stopping for stopped", stoppingIsStopped, "has not ended"},
		{"does not know of the replicas it made last", noUnreported, "has address"},
	}
	for _, bug := range bugs {
		t.Run(bug.name, func(t *testing.T) {
			tamper := func(snap *store.Snapshot) *store.Snapshot { return changed(snap, bug.change) }
			var found error
			for seed := uint64(1); seed <= 100; seed++ {
				found = sim.Run(sim.Config{Seed: seed, Steps: 120, Tamper: tamper})
				if found != nil && strings.Contains(found.Error(), bug.want) {
					t.Log(found)
					return
				}
			}
			t.Errorf("not found as %q within 100 seeds; the last error was %v", bug.want, found)
		})
	}
}

func changed(snap *store.Snapshot, change func(any) any) *store.Snapshot {
	var nouns []any
	nouns = appendChanged(nouns, snap.Apps, change)
	nouns = appendChanged(nouns, snap.Services, change)
	nouns = appendChanged(nouns, snap.Releases, change)
	nouns = appendChanged(nouns, snap.Replicas, func(v any) any {
		if _, reported := snap.Statuses.Get(v.(*holdfast.Replica).ID); !reported {
			return change(&unreported{v.(*holdfast.Replica)})
		}
		return change(v)
	})
	nouns = appendChanged(nouns, snap.Statuses, change)
	nouns = appendChanged(nouns, snap.Nodes, change)
	for i, noun := range nouns {
		if u, ok := noun.(*unreported); ok {
			nouns[i] = u.Replica
		}
	}
	return store.NewSnapshot(snap.Revision, nouns...)
}

// unreported is a replica whose node has not said anything of it.
type unreported struct{ *holdfast.Replica }

func appendChanged[T any](nouns []any, table store.Table[T], change func(any) any) []any {
	for _, v := range table.All("") {
		if noun := change(v); noun != nil {
			nouns = append(nouns, noun)
		}
	}
	return nouns
}

func startedIsReady(noun any) any {
	if st, ok := noun.(*holdfast.Status); ok && st.State == holdfast.Starting {
		early := *st
		early.Ready = true
		return &early
	}
	return noun
}

func notDrained(noun any) any {
	if n, ok := noun.(*holdfast.Node); ok {
		open := *n
		open.Drained = false
		return &open
	}
	return noun
}

func noAddresses(noun any) any {
	r, ok := noun.(*holdfast.Replica)
	if u, is := noun.(*unreported); is {
		r, ok = u.Replica, true
	}
	if ok {
		bare := *r
		bare.Addresses = nil
		return &bare
	}
	return noun
}

func noFailures(noun any) any {
	if st, ok := noun.(*holdfast.Status); ok && st.State == holdfast.Failed {
		fine := *st
		fine.State, fine.Ready = holdfast.Running, true
		return &fine
	}
	return noun
}

func stoppingIsStopped(noun any) any {
	if st, ok := noun.(*holdfast.Status); ok && st.State == holdfast.Stopping {
		ended := *st
		ended.State = holdfast.Stopped
		return &ended
	}
	return noun
}

func noUnreported(noun any) any {
	if _, ok := noun.(*unreported); ok {
		return nil
	}
	return noun
}
