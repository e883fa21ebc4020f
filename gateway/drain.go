package gateway

import (
	"context"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/gateway/route"
	"github.com/holdfast/holdfast/gateway/upstream"
	"github.com/holdfast/holdfast/store"
)

// drainPause is how long a change of what is in flight may wait for others, unless it is the last.
const drainPause = 100 * time.Millisecond

// drainRetry is how long a failed write of drain records waits.
const drainRetry = 500 * time.Millisecond

// drainer confirms in the store which replicas this gateway no longer routes to.
type drainer struct {
	cfg  Config
	set  *upstream.Set
	seen map[string]bool // replicas whose leaving was noticed; follow's own
	now  chan struct{}   // write at once
	soon chan struct{}   // write within drainPause
}

func newDrainer(cfg Config, set *upstream.Set) *drainer {
	return &drainer{
		cfg: cfg, set: set, seen: map[string]bool{}, now: make(chan struct{}, 1), soon: make(chan struct{}, 1),
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// follow notices which replicas leave in a table that was just applied.
func (d *drainer) follow(t *route.Table) {
	present := make(map[string]bool, len(t.Replicas))
	for _, r := range t.Replicas {
		present[r.ID] = true
		if r.Phase < route.Draining || d.seen[r.ID] {
			continue
		}
		d.seen[r.ID] = true
		d.notice(r.ID)
	}
	for id := range d.seen {
		if !present[id] {
			delete(d.seen, id)
		}
	}
	poke(d.now)
}

func (d *drainer) notice(id string) {
	rep := d.set.Replica(id)
	if rep == nil {
		return
	}
	rep.OnFall(func(n int) {
		if n == 0 {
			poke(d.now)
		} else {
			poke(d.soon)
		}
		if d.cfg.OnDrain != nil {
			d.cfg.OnDrain(id, n)
		}
	})
	if d.cfg.OnDrain != nil {
		d.cfg.OnDrain(id, rep.InFlight())
	}
}

// run writes records until ctx ends.
func (d *drainer) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.soon:
			timer.Reset(drainPause)
			continue
		case <-d.now:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if err := d.write(ctx); err != nil && ctx.Err() == nil {
			d.cfg.Log.Warn("write drain records", "err", err)
			timer.Reset(drainRetry)
		}
	}
}

func (d *drainer) write(ctx context.Context) error {
	if plan := planDrains(d.cfg.State.Snapshot(), d.cfg.NodeID, d.inFlight); plan.empty() {
		return nil
	}
	return d.cfg.State.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) error {
		plan := planDrains(snap, d.cfg.NodeID, d.inFlight)
		for _, drain := range plan.put {
			drain.Changed = d.cfg.Now()
			tx.Put(drain)
		}
		for _, drain := range plan.remove {
			tx.Delete(drain)
		}
		return nil
	})
}

// inFlight returns what is in flight to a replica that this gateway does not route to any more; ok is false while it may.
func (d *drainer) inFlight(id string) (n int, ok bool) {
	rep := d.set.Replica(id)
	if rep == nil || rep.Leaving().Err() == nil {
		return 0, false
	}
	return rep.InFlight(), true
}

// drainPlan is what is to change in the records of one gateway.
type drainPlan struct{ put, remove []*holdfast.Drain }

func (p drainPlan) empty() bool { return len(p.put)+len(p.remove) == 0 }

// planDrains compares node's records with what is in flight: one for each replica that is leaving and has not ended, none
// for replicas that are no more. One that ended keeps the record it has, at 0.
func planDrains(snap *store.Snapshot, node string, inFlight func(replica string) (int, bool)) drainPlan {
	var p drainPlan
	for _, rep := range snap.Replicas.All("") {
		n, ok := inFlight(rep.ID)
		if !ok {
			continue
		}
		old, has := snap.Drains.Get(rep.ID + "/" + node)
		status, _ := snap.Statuses.Get(rep.ID)
		if ended := status != nil && status.State.Ended(); ended && !has {
			continue
		}
		if !has || old.InFlight != n {
			p.put = append(p.put, &holdfast.Drain{Replica: rep.ID, Node: node, InFlight: n})
		}
	}
	for _, old := range snap.Drains.All("") {
		if _, there := snap.Replicas.Get(old.Replica); !there && old.Node == node {
			p.remove = append(p.remove, old)
		}
	}
	return p
}
