package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast/holdfast"
)

// roll moves the slots towards the target: it stops what has been replaced, fills empty slots and updates as many of the
// others as the policy allows at a time.
func (w *work) roll() {
	w.blocked = ""
	w.stopReplaced()
	w.limit = w.policy.Parallelism
	if w.limit <= 0 {
		w.limit = len(w.slots)
	}
	w.countBusy()
	w.fill()
	w.update()
}

// mayUpdate reports whether replicas of another release may be replaced now.
func (w *work) mayUpdate() bool {
	return !w.svc.Paused && (w.svc.Rollout.Phase != holdfast.Halted || w.svc.Stable == 0)
}

// stopReplaced stops the old replicas of slots whose new one is ready.
func (w *work) stopReplaced() {
	for _, s := range w.slots {
		if s.held == nil && !slices.ContainsFunc(s.news, (*replica).ready) {
			continue
		}
		for _, r := range s.olds {
			w.stop(r, w.replacedWhy(r))
		}
		s.olds = nil
	}
}

func (w *work) replacedWhy(r *replica) string {
	switch {
	case r.Release == w.svc.Release:
		return "its node is drained"
	case w.svc.Rollout.Phase == holdfast.RollingBack:
		return fmt.Sprintf("rolled back to release %d", w.svc.Release)
	}
	return fmt.Sprintf("updated to release %d", w.svc.Release)
}

// countBusy counts the slots that the update is working on, and those with no ready replica.
func (w *work) countBusy() {
	w.busy, w.down = 0, 0
	pending := slices.ContainsFunc(w.slots, func(s *slot) bool { return len(s.olds) > 0 })
	for _, s := range w.slots {
		if !s.ready() && s.held == nil {
			w.down++
		}
		switch {
		case len(s.news) > 0 && !s.news[0].ready() && s.news[0].st.ReadyAt.IsZero():
			w.busy++
		case len(s.news) > 0 && pending && s.news[0].ready() && !w.due(s.news[0].st.ReadyAt.Add(w.policy.Delay.Std())):
			w.busy++
		case s.successorDue():
			w.busy++
		}
	}
}

// successorDue reports whether the slot was emptied for an update.
func (s *slot) successorDue() bool {
	return s.empty() && s.latest != nil && s.latest.Successor != 0
}

// fill creates a replica in each empty slot.
func (w *work) fill() {
	for _, s := range w.slots {
		if !s.empty() || w.policy.Order == stopFirst && len(s.stopping) > 0 || !w.due(w.svc.Backoff.Until) {
			continue
		}
		release, counts := w.releaseFor(s)
		if why := w.waitsFor(release); why != "" {
			w.blocked = why
			if release = w.fallback(release); release == 0 {
				continue
			}
		}
		if !w.create(s, release, w.emptyWhy(s, release)) {
			return
		}
		if counts {
			w.busy++
		}
	}
}

// releaseFor returns which release an empty slot gets, and whether that counts as a step of the update: while the new
// release is unproven, a slot that it has not reached yet is healed with the stable one; once it is halted, any is.
func (w *work) releaseFor(s *slot) (release int, counts bool) {
	target := w.svc.Release
	if stable := w.fallback(target); stable != 0 && w.svc.Rollout.Phase == holdfast.Halted {
		return stable, false
	}
	reached := s.successorDue() || s.latest != nil && s.latest.Release == target
	if reached || w.fallback(target) == 0 {
		return target, false
	}
	if w.mayUpdate() && w.busy < w.limit {
		return target, true
	}
	return w.svc.Stable, false
}

// fallback returns the stable release when it is another than release and there; else 0.
func (w *work) fallback(release int) int {
	if w.svc.Stable == release || w.release(&w.svc, w.svc.Stable) == nil {
		return 0
	}
	return w.svc.Stable
}

func (w *work) emptyWhy(s *slot, release int) string {
	switch {
	case s.latest == nil || s.latest.StopWhy == "scaled down":
		if !slices.ContainsFunc(w.all, func(r *replica) bool { return r.Release == release }) {
			return fmt.Sprintf("first of release %d", release)
		}
		return fmt.Sprintf("slot %d is empty", s.number)
	case s.latest.Successor != 0:
		return s.latest.StopWhy
	}
	return fmt.Sprintf("replaces %s: %s", s.latest.ID, s.latest.StopWhy)
}

// update starts replacing the replicas of slots that the target has not reached. Slots with nothing ready come first:
// they cost nothing.
func (w *work) update() {
	var todo []*slot
	for _, s := range w.slots {
		if len(s.olds) > 0 && len(s.news) == 0 && s.held == nil && (w.mayUpdate() || s.olds[0].Release == w.svc.Release) {
			todo = append(todo, s)
		}
	}
	if len(todo) == 0 {
		return
	}
	if why := w.waitsFor(w.svc.Release); why != "" {
		w.blocked = why
		return
	}
	slices.SortStableFunc(todo, func(a, b *slot) int { return cmp.Compare(readiness(a), readiness(b)) })
	for _, s := range todo {
		if w.busy >= w.limit || !w.due(w.svc.Backoff.Until) || !w.updateSlot(s) {
			return
		}
	}
}

func readiness(s *slot) int {
	if s.ready() {
		return 1
	}
	return 0
}

// updateSlot reports whether the update may go on to the next slot.
func (w *work) updateSlot(s *slot) bool {
	old := s.olds[0]
	why := w.replacedWhy(old)
	if w.policy.Order != stopFirst {
		w.busy++
		return w.create(s, w.svc.Release, why)
	}
	if s.ready() && w.down >= w.limit {
		return true
	}
	if choice := w.place(w.target, s); choice.Node == "" {
		w.blocked = choice.Reason
		return false
	}
	if s.ready() {
		w.down++
	}
	w.busy++
	w.stopFor(old, why, w.svc.Release)
	s.olds = nil
	return true
}

// progress moves the rollout's phase on.
func (w *work) progress() {
	ro := &w.svc.Rollout
	if ro.To != w.svc.Release || w.svc.Paused || !w.allSatisfied() {
		return
	}
	switch {
	case ro.Phase == holdfast.RollingBack:
		w.enter(holdfast.RolledBack)
		w.add(about(&w.svc, holdfast.RolloutRolledBack, ro.Reason, "service %s is back at release %d", w.svc.Name, ro.To))
	case ro.Phase == holdfast.Rolling, ro.Phase == holdfast.Halted && w.svc.Stable == 0:
		if ro.Phase == holdfast.Halted { // its failures have been judged
			ro.Failed, ro.Reason = 0, ""
		}
		w.enter(holdfast.Monitoring)
		if w.monitored() {
			w.done()
			return
		}
		a := about(&w.svc, "", "all replicas are ready", "watch release %d of service %s for %v", ro.To, w.svc.Name, w.policy.Monitor)
		a.Quiet = true
		w.add(a)
	case ro.Phase == holdfast.Monitoring && w.monitored():
		w.done()
	}
}

func (w *work) enter(phase holdfast.Phase) {
	w.svc.Rollout.Phase, w.svc.Rollout.Changed = phase, w.now
}

// monitored reports whether the newest replica has been ready for as long as the policy watches it.
func (w *work) monitored() bool {
	newest := w.latestReady()
	return newest.IsZero() || w.due(newest.Add(w.policy.Monitor.Std()))
}

func (w *work) done() {
	ro := &w.svc.Rollout
	took := w.now.Sub(ro.Started).Round(time.Millisecond)
	w.enter(holdfast.Done)
	ro.Reason = ""
	w.svc.Stable = ro.To
	release := *w.target
	release.Outcome = holdfast.Done
	a := about(&w.svc, holdfast.RolloutDone, fmt.Sprintf("all replicas are ready after %v", took), "release %d of service %s is stable", ro.To, w.svc.Name)
	a.puts = append(a.puts, &release)
	w.add(a)
}
