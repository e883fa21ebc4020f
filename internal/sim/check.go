package sim

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// check checks what one plan, and perhaps something that overtook it, has made of before.
func check(before, after *store.Snapshot) error {
	if err := checkAddresses(after); err != nil {
		return err
	}
	if err := checkNew(before, after); err != nil {
		return err
	}
	for key, svc := range after.Services.All("") {
		rel, ok := after.Releases.Get(store.ReleaseKey(svc.App, svc.Name, svc.Release))
		if !ok {
			return fmt.Errorf("service %s has no release %d", key, svc.Release)
		}
		if _, ok := after.Releases.Get(store.ReleaseKey(svc.App, svc.Name, svc.Stable)); svc.Stable != 0 && !ok {
			return fmt.Errorf("service %s has lost its stable release %d", key, svc.Stable)
		}
		if rel.Spec.Mode == holdfast.Job || svc.Removing {
			continue
		}
		if err := checkCounts(before, after, svc, rel); err != nil {
			return fmt.Errorf("service %s: %w", key, err)
		}
	}
	return nil
}

// checkCounts: never more than wanted and the surge, and never fewer ready ones than the update may leave.
func checkCounts(before, after *store.Snapshot, svc *holdfast.Service, rel *holdfast.Release) error {
	was, now := count(before, before, svc), count(after, before, svc)
	wanted := want(after, svc, rel)
	if len(now.slots) > wanted {
		return fmt.Errorf("%d slots are in use, %d are wanted", len(now.slots), wanted)
	}
	most := 2 // the old one and its successor
	if rel.Spec.Update.Order == "stop-first" {
		most = 1
	}
	for slot, n := range now.slots {
		if n > most {
			return fmt.Errorf("%d replicas are meant to run in slot %d, at most %d may", n, slot, most)
		}
	}
	least := min(was.ready, wanted)
	if rel.Spec.Update.Order == "stop-first" {
		least = min(least, wanted-rel.Spec.Update.Parallelism)
	}
	if rel.Spec.Mode == holdfast.Global || now.drained > 0 || was.drained > 0 {
		return nil // which nodes count changes under it
	}
	if now.ready < least && now.ready < was.ready {
		return fmt.Errorf("%d slots were ready, %d are left; the least is %d", was.ready, now.ready, least)
	}
	return nil
}

type counts struct {
	alive   int // meant to run and not ended
	drained int
	ready   int         // slots with a ready replica
	slots   map[int]int // alive ones
}

// count counts what snap wants of a service, by the statuses that reported shows.
func count(snap, seen *store.Snapshot, svc *holdfast.Service) counts {
	c := counts{slots: make(map[int]int)}
	ready := make(map[int]bool)
	gone := drained(snap)
	for id, r := range snap.Replicas.All("") {
		st, reported := seen.Statuses.Get(id)
		if r.App != svc.App || r.Service != svc.Name || r.Desired != holdfast.Run || reported && st.State.Ended() {
			continue
		}
		c.alive++
		c.slots[r.Slot]++
		if slices.Contains(gone, r.Node) {
			c.drained++
		}
		if reported && st.Ready {
			ready[r.Slot] = true
		}
	}
	c.ready = len(ready)
	return c
}

func want(snap *store.Snapshot, svc *holdfast.Service, rel *holdfast.Release) int {
	switch {
	case rel.Spec.Mode == holdfast.Global:
		return snap.Nodes.Len() - len(drained(snap))
	case svc.Scale != nil:
		return *svc.Scale
	}
	return rel.Spec.Replicas
}

// checkAddresses: no two replicas that may run have the same address.
func checkAddresses(snap *store.Snapshot) error {
	owner := make(map[netip.Addr]string)
	for _, svc := range snap.Services.All("") {
		for _, vip := range svc.VIPs {
			owner[vip] = "service " + svc.Name
		}
	}
	for id, r := range snap.Replicas.All("") {
		if st, ok := snap.Statuses.Get(id); ok && st.State.Ended() {
			continue
		}
		for _, addr := range r.Addresses {
			if other := owner[addr]; other != "" {
				return fmt.Errorf("%s has address %s of %s", id, addr, other)
			}
			owner[addr] = id
		}
	}
	return nil
}

// checkNew: a new replica is on a node that may have it, and, where two must not share a slot, alone in it.
func checkNew(before, after *store.Snapshot) error {
	for id, r := range after.Replicas.All("") {
		if _, old := before.Replicas.Get(id); old {
			continue
		}
		if slices.Contains(drained(before), r.Node) {
			return fmt.Errorf("%s was made on node %s, which is drained", id, r.Node)
		}
		rel, ok := after.Releases.Get(store.ReleaseKey(r.App, r.Service, r.Release))
		if !ok || rel.Spec.Update.Order != "stop-first" || rel.Spec.Mode == holdfast.Job {
			continue
		}
		for other, o := range before.Replicas.All("") {
			st, reported := before.Statuses.Get(other)
			if o.Service == r.Service && o.Slot == r.Slot && (!reported || !st.State.Ended()) {
				return fmt.Errorf("%s was made while %s has not ended", id, other)
			}
		}
	}
	return nil
}

// atRest checks that everything is as it was asked for.
func (s *Sim) atRest() error {
	snap := s.store.Snapshot()
	if a, ok := snap.Apps.Get(app); !ok || a.Removing {
		return fmt.Errorf("the app is gone")
	}
	for key, svc := range snap.Services.All("") {
		rel, _ := snap.Releases.Get(store.ReleaseKey(svc.App, svc.Name, svc.Release))
		if rel.Spec.Mode == holdfast.Job {
			continue
		}
		c, wanted := count(snap, snap, svc), want(snap, svc, rel)
		if c.alive != wanted || c.ready != wanted {
			return fmt.Errorf("at rest, %s has %d replicas meant to run and %d ready slots, wanted %d (%+v, %+v)", key, c.alive, c.ready, wanted, svc.Rollout, svc.Backoff)
		}
		if svc.Rollout.Phase != holdfast.Done || svc.Stable != svc.Release {
			return fmt.Errorf("at rest, the rollout of %s is %+v, stable %d", key, svc.Rollout, svc.Stable)
		}
	}
	for id, st := range snap.Statuses.All("") {
		if _, ok := snap.Replicas.Get(id); !ok {
			return fmt.Errorf("the status of %s was left behind", st.ID)
		}
	}
	return nil
}
