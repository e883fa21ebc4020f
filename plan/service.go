package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan/place"
	"github.com/holdfast/holdfast/store"
)

// work is the planning of one service.
type work struct {
	*planner
	svc    holdfast.Service  // as this plan has it
	target *holdfast.Release // svc.Release
	all    []*replica        // of the service, oldest first
	slots  []*slot
	policy holdfast.Update // of the rollout that runs

	blocked     string // why a replica cannot be created now
	limit, busy int    // slots that may be, and are, worked on by the update
	down        int    // slots with no ready replica
}

// service plans one service.
func (p *planner) service(s *holdfast.Service) {
	w := &work{planner: p, svc: *s, all: p.replicas[store.ServiceKey(s.App, s.Name)]}
	slices.SortStableFunc(w.all, byAge)
	app, ok := p.snap.Apps.Get(s.App)
	if s.Removing || !ok || app.Removing {
		w.remove()
		return
	}
	if !w.aim() {
		return
	}
	if w.target.Spec.Mode == holdfast.Job {
		w.job()
		return
	}
	w.account()
	w.judge()
	w.fillSlots()
	w.surplus()
	w.roll()
	w.progress()
	w.recover()
}

// byAge sorts the oldest first; of two made at the same time, the one that was stopped first.
func byAge(a, b *replica) int {
	if c := a.Created.Compare(b.Created); c != 0 {
		return c
	}
	switch {
	case a.StopSince.IsZero() && !b.StopSince.IsZero():
		return 1
	case b.StopSince.IsZero() && !a.StopSince.IsZero():
		return -1
	}
	return a.StopSince.Compare(b.StopSince)
}

// aim looks up the wanted release and the policy by which it is reached.
func (w *work) aim() bool {
	w.target = w.release(&w.svc, w.svc.Release)
	if w.target == nil {
		return false
	}
	w.policy = w.target.Spec.Update
	if w.svc.Rollout.Phase == holdfast.RollingBack {
		w.policy = w.target.Spec.Rollback
		if failed := w.release(&w.svc, w.svc.Rollout.From); failed != nil {
			w.policy = failed.Spec.Rollback
		}
	}
	if exclusive(&w.target.Spec) {
		w.policy.Order = stopFirst
	}
	return true
}

const stopFirst = "stop-first"

// exclusive reports whether two replicas in one slot would fight over something that only one can have.
func exclusive(spec *holdfast.Spec) bool {
	return slices.ContainsFunc(spec.Ports, func(p holdfast.Port) bool { return p.Mode == "host" }) ||
		slices.ContainsFunc(spec.Networks, func(at holdfast.Attachment) bool { return at.IPv4.IsValid() }) ||
		spec.NetworkMode == "host"
}

// slot is a place of the service: at most one replica of the target is meant to run in it.
type slot struct {
	number   int
	pin      string     // node of a global service's slot
	news     []*replica // meant to run, of the target and on a node that may keep them
	olds     []*replica // meant to run, others
	stopping []*replica // not meant to run, not ended
	held     *replica   // ended for good, of the target, not to be replaced
	latest   *replica   // of all records
}

func (s *slot) ready() bool {
	return slices.ContainsFunc(s.news, (*replica).ready) || slices.ContainsFunc(s.olds, (*replica).ready)
}

func (s *slot) empty() bool { return len(s.news) == 0 && len(s.olds) == 0 && s.held == nil }

// satisfied reports whether the slot has what the target wants, and nothing else that is meant to run.
func (s *slot) satisfied() bool {
	completed := s.held != nil && s.held.st.State == holdfast.Stopped
	return len(s.olds) == 0 && (completed || slices.ContainsFunc(s.news, (*replica).ready))
}

// fillSlots groups the replicas by slot and adds the slots that are wanted.
func (w *work) fillSlots() {
	byNumber := make(map[int]*slot)
	for _, r := range w.all {
		s := byNumber[r.Slot]
		if s == nil {
			s = &slot{number: r.Slot}
			byNumber[r.Slot] = s
		}
		w.put(s, r)
	}
	for _, s := range byNumber {
		w.slots = append(w.slots, s)
	}
	slices.SortFunc(w.slots, func(a, b *slot) int { return cmp.Compare(a.number, b.number) })
	if w.target.Spec.Mode == holdfast.Global {
		w.wantGlobal()
	} else {
		w.wantReplicated(count(&w.svc, &w.target.Spec))
	}
}

func (w *work) put(s *slot, r *replica) {
	s.latest = r
	switch {
	case r.alive() && r.Release == w.svc.Release && (r.node == nil || !r.node.Drained):
		s.news = append(s.news, r)
	case r.alive():
		s.olds = append(s.olds, r)
	case !r.ended():
		s.stopping = append(s.stopping, r)
	case r.Desired == holdfast.Run && r.Release == w.svc.Release:
		s.held = r
	case r.Desired == holdfast.Run:
		w.retire(r, "replaced by release "+fmt.Sprint(w.svc.Release), true)
	}
}

// wantReplicated keeps n slots: those in use, the worst dropped when there are too many, the lowest added when there are
// too few.
func (w *work) wantReplicated(n int) {
	known := make(map[int]*slot, len(w.slots))
	for _, s := range w.slots {
		known[s.number] = s
	}
	kept := w.drop(slices.DeleteFunc(slices.Clone(w.slots), (*slot).empty), n)
	wanted := make(map[int]bool, n)
	for _, s := range kept {
		wanted[s.number] = true
	}
	for number := 1; len(kept) < n; number++ {
		if wanted[number] {
			continue
		}
		s := known[number]
		if s == nil {
			s = &slot{number: number}
		}
		kept = append(kept, s)
	}
	slices.SortFunc(kept, func(a, b *slot) int { return cmp.Compare(a.number, b.number) })
	w.slots = kept
}

// drop stops all replicas of some of the slots in use, so that n are left, which it returns. Those that are not ready go
// first, but not of a stateful service, whose slots have an identity; then the highest.
func (w *work) drop(used []*slot, n int) []*slot {
	slices.SortStableFunc(used, func(a, b *slot) int {
		if a.ready() != b.ready() && w.target.Spec.Kind != holdfast.Stateful {
			if a.ready() {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.number, b.number)
	})
	for i := len(used) - 1; i >= n; i-- {
		w.stopSlot(used[i], "scaled down")
	}
	return used[:min(n, len(used))]
}

func (w *work) stopSlot(s *slot, why string) {
	for _, r := range slices.Concat(s.news, s.olds) {
		w.stop(r, why)
	}
	if s.held != nil {
		w.retire(s.held, why, true)
	}
}

// wantGlobal keeps one slot per node that the service may run on.
func (w *work) wantGlobal() {
	byNode := make(map[string]*slot)
	for _, s := range w.slots {
		if s.empty() {
			continue
		}
		node := s.latest.Node
		n, there := w.snap.Nodes.Get(node)
		if !there || !place.Eligible(n, &w.target.Spec) || byNode[node] != nil {
			w.stopSlot(s, "its node is not for this service")
			continue
		}
		s.pin, byNode[node] = node, s
	}
	taken := make(map[int]bool)
	for _, s := range byNode {
		taken[s.number] = true
	}
	old := w.slots
	w.slots = nil
	for id, n := range w.snap.Nodes.All("") {
		if !place.Eligible(n, &w.target.Spec) {
			continue
		}
		s := byNode[id]
		if s == nil {
			s = globalSlot(old, taken, id)
			taken[s.number] = true
		}
		w.slots = append(w.slots, s)
	}
	slices.SortFunc(w.slots, func(a, b *slot) int { return cmp.Compare(a.number, b.number) })
}

// globalSlot returns the empty slot that node had, or a new one with the lowest free number.
func globalSlot(old []*slot, taken map[int]bool, node string) *slot {
	for _, s := range old {
		if s.empty() && s.latest.Node == node && !taken[s.number] {
			s.pin = node
			return s
		}
	}
	number := 1
	for taken[number] || slices.ContainsFunc(old, func(s *slot) bool { return s.number == number }) {
		number++
	}
	return &slot{number: number, pin: node}
}

// surplus stops what a slot has too much of: all but one replica of the target, and, of the others, all but the best.
func (w *work) surplus() {
	for _, s := range w.slots {
		s.news = w.keepBest(s.news)
		s.olds = w.keepBest(s.olds)
		if s.held != nil && len(s.news) > 0 {
			w.retire(s.held, "its slot has another replica", true)
			s.held = nil
		}
	}
}

func (w *work) keepBest(replicas []*replica) []*replica {
	if len(replicas) < 2 {
		return replicas
	}
	best := slices.MaxFunc(replicas, func(a, b *replica) int { return cmp.Compare(w.worth(a), w.worth(b)) })
	for _, r := range replicas {
		if r != best {
			w.stop(r, "its slot has another replica")
		}
	}
	return []*replica{best}
}

func (w *work) worth(r *replica) int {
	worth := 0
	if r.ready() {
		worth += 2
	}
	if r.Release == w.svc.Stable {
		worth++
	}
	return worth
}

// stop makes r stop in the orderly way. Its node records the event when it begins.
func (w *work) stop(r *replica, why string) { w.stopFor(r, why, 0) }

func (w *work) stopFor(r *replica, why string, successor int) {
	w.end(r, why, successor)
	w.add(w.replicaAction(r, "", why, "stop replica %s of release %d", r.ID, r.Release))
}

// end gives r a record that says that it is not to run.
func (w *work) end(r *replica, why string, successor int) {
	ended := *r.Replica
	ended.Desired, ended.StopWhy, ended.StopSince, ended.Successor = holdfast.Stop, why, w.now, successor
	r.Replica = &ended
}

// retire notes that r, which has ended, needs no more attention.
func (w *work) retire(r *replica, why string, quiet bool) {
	w.end(r, why, 0)
	a := w.replicaAction(r, "", why, "forget that replica %s is to run", r.ID)
	a.Quiet = quiet
	w.add(a)
}

func (w *work) replicaAction(r *replica, event holdfast.EventType, why, format string, args ...any) Action {
	return Action{
		App: r.App, Service: r.Service, Replica: r.ID, Release: r.Release, Reason: why,
		Text: fmt.Sprintf(format, args...), puts: []any{r.Replica}, event: event,
	}
}

// latestReady returns when the newest of the slots' target replicas first became ready.
func (w *work) latestReady() time.Time {
	var at time.Time
	for _, s := range w.slots {
		for _, r := range s.news {
			if r.ready() && r.st.ReadyAt.After(at) {
				at = r.st.ReadyAt
			}
		}
	}
	return at
}
