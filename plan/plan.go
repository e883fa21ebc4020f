package plan

import (
	"math/rand/v2"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Plan returns what is to be done now so that snap becomes what is wanted, and when to plan again even if nothing
// changes until then; the zero time when never. Equal arguments and an equally seeded random, which is used for the IDs
// of new replicas only, give equal actions. When nothing is to be done it returns none.
//
// Of each service Plan never has more replicas meant to run than wanted plus, while a start-first update runs, its
// parallelism; and an update never takes a ready replica away that it may not (see Update).
func Plan(snap *store.Snapshot, now time.Time, random *rand.Rand) (actions []Action, next time.Time) {
	p := newPlanner(snap, now, random)
	for _, s := range snap.Services.All("") {
		p.service(s)
	}
	p.reap()
	return p.actions, p.next
}

// planner carries one call of Plan.
type planner struct {
	snap   *store.Snapshot
	now    time.Time
	random *rand.Rand

	replicas map[string][]*replica // by service key, in ID order
	view     *view                 // of nodes and addresses; made when first needed
	actions  []Action
	next     time.Time
}

// replica is a replica with what its node says of it, and what this plan has decided already. What the snapshot holds
// is never changed, only replaced.
type replica struct {
	*holdfast.Replica
	st   *holdfast.Status // never nil; empty when its node has not reported
	node *holdfast.Node   // nil when it is gone
}

var notReported holdfast.Status

func newPlanner(snap *store.Snapshot, now time.Time, random *rand.Rand) *planner {
	p := &planner{snap: snap, now: now, random: random, replicas: make(map[string][]*replica, snap.Services.Len())}
	for _, r := range snap.Replicas.All("") {
		key := store.ServiceKey(r.App, r.Service)
		p.replicas[key] = append(p.replicas[key], p.see(r))
	}
	return p
}

func (p *planner) see(r *holdfast.Replica) *replica {
	seen := &replica{Replica: r, st: &notReported}
	if st, ok := p.snap.Statuses.Get(r.ID); ok {
		seen.st = st
	}
	seen.node, _ = p.snap.Nodes.Get(r.Node)
	if seen.node == nil && !seen.st.State.Ended() {
		gone := *seen.st
		gone.State, gone.Reason, gone.Ready = holdfast.Failed, "its node is gone", false
		seen.st = &gone
	}
	return seen
}

func (r *replica) ended() bool { return r.st.State.Ended() }

// alive reports whether r is meant to run and has not ended.
func (r *replica) alive() bool { return r.Desired == holdfast.Run && !r.ended() }

func (r *replica) ready() bool { return r.alive() && r.st.Ready }

// wake makes the next plan happen at t at the latest.
func (p *planner) wake(t time.Time) {
	if t.After(p.now) && (p.next.IsZero() || t.Before(p.next)) {
		p.next = t
	}
}

// due reports whether t has come; when it has not, the planner wakes up at t.
func (p *planner) due(t time.Time) bool {
	if t.After(p.now) {
		p.wake(t)
		return false
	}
	return true
}

func (p *planner) add(a Action) { p.actions = append(p.actions, a) }

func (p *planner) release(s *holdfast.Service, number int) *holdfast.Release {
	r, _ := p.snap.Releases.Get(store.ReleaseKey(s.App, s.Name, number))
	return r
}
