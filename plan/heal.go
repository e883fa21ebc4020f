package plan

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
)

const (
	defaultWindow   = 10 * time.Second
	defaultDelay    = 100 * time.Millisecond
	defaultMaxDelay = 30 * time.Second
	// prepareLimit bounds how long a replica may wait for its image, volumes and network.
	prepareLimit = 15 * time.Minute
)

// account notes each replica that ended by itself, or that will never start, once.
func (w *work) account() {
	for _, r := range w.all {
		switch {
		case r.Desired != holdfast.Run:
		case r.ended() && w.keepsEnded(r):
		case r.ended() && r.Release != w.svc.Release && r.st.Finished.Before(w.svc.Rollout.Started):
			w.retire(r, "replaced by release "+strconv.Itoa(w.svc.Release), true) // it was kept until now
		case r.ended(), r.st.State == holdfast.Draining, r.st.State == holdfast.Stopping:
			w.failed(r) // also when its node is ending it by itself: its successor need not wait for that
		default:
			w.stopHung(r)
		}
	}
}

// keepsEnded reports whether r, which ended by itself, is not to be replaced.
func (w *work) keepsEnded(r *replica) bool {
	if r.Release != w.svc.Release || r.node == nil {
		return false
	}
	restart := w.target.Spec.Restart
	switch {
	case restart.Condition == "none":
		return true
	case restart.Condition == "on-failure" && r.st.State == holdfast.Stopped:
		return true
	}
	return restart.MaxAttempts > 0 && w.svc.Backoff.Failures >= restart.MaxAttempts*w.width()
}

// width is how many replicas the service is to have, at least 1.
func (w *work) width() int {
	if w.target.Spec.Mode == holdfast.Global {
		return max(1, w.snap.Nodes.Len())
	}
	return max(1, count(&w.svc, &w.target.Spec))
}

// failed makes room for the successor of r and counts the failure.
func (w *work) failed(r *replica) {
	why, verb := ending(r.st), "failed"
	if r.st.State == holdfast.Stopped {
		verb = "ended"
	}
	var event holdfast.EventType // its node has recorded one
	if r.node == nil {
		event = holdfast.ReplicaFailed
	}
	w.countFailure(r, why)
	w.end(r, why, 0)
	a := w.replicaAction(r, event, why, "replica %s of release %d %s", r.ID, r.Release, verb)
	w.withService(&a)
	w.add(a)
	w.tellBackoff()
}

// tellBackoff records that the service's replacements wait from now on, or longer than before.
func (w *work) tellBackoff() {
	b := w.svc.Backoff
	if b.Until.After(w.now) && (b.Failures-1)%w.width() == 0 {
		w.add(about(&w.svc, holdfast.ServiceBackedOff, b.Reason, "service %s waits", w.svc.Name))
	}
}

// withService makes a write the service as it is now, too.
func (w *work) withService(a *Action) {
	svc := w.svc
	a.puts = append(a.puts, &svc)
}

// stopHung stops a replica that should have been ready by now.
func (w *work) stopHung(r *replica) {
	var since time.Time
	var limit time.Duration
	switch r.st.State {
	case holdfast.Starting:
		since, limit = r.st.Since, w.policy.Deadline.Std()
	case holdfast.Assigned, holdfast.Preparing:
		since, limit = r.Created, prepareLimit
	}
	if limit == 0 || since.IsZero() || !w.due(since.Add(limit)) {
		return
	}
	why := fmt.Sprintf("not ready within %v", limit)
	if r.st.Reason != "" {
		why += ": " + r.st.Reason
	}
	w.countFailure(r, why)
	w.end(r, why, 0)
	a := w.replicaAction(r, "", why, "stop replica %s of release %d", r.ID, r.Release)
	w.withService(&a)
	w.add(a)
}

// countFailure keeps the count of failures, in the back-off and in the rollout. A replica that was ready and then was
// killed from outside, or whose node went away, is no failure of the program.
func (w *work) countFailure(r *replica, why string) {
	if r.node == nil || killedFromOutside(r.st) {
		return
	}
	up := time.Duration(-1)
	if !r.st.ReadyAt.IsZero() {
		up = cmp.Or(r.st.Finished, w.now).Sub(r.st.ReadyAt)
	}
	ro := &w.svc.Rollout
	if rolls(ro) && r.Release == ro.To && up < w.policy.Monitor.Std() {
		ro.Failed++
		ro.Reason = why
	}
	if up >= w.window() {
		w.svc.Backoff = holdfast.Backoff{}
		return
	}
	b := &w.svc.Backoff
	b.Failures++
	delay := w.delay(b.Failures)
	b.Until = w.now.Add(delay)
	b.Reason = why
	if delay > 0 {
		b.Reason = fmt.Sprintf("%s; %d failures in a row, next try after %v", why, b.Failures, delay)
	}
}

func killedFromOutside(st *holdfast.Status) bool {
	byItself := st.Reason == "" || strings.HasPrefix(st.Reason, "killed by")
	return st.ExitCode == 128+9 && !st.OOM && !st.ReadyAt.IsZero() && byItself
}

// rolls reports whether failures still decide the rollout.
func rolls(ro *holdfast.Rollout) bool {
	return ro.Phase == holdfast.Rolling || ro.Phase == holdfast.Monitoring
}

func (w *work) window() time.Duration {
	return cmp.Or(w.target.Spec.Restart.Window.Std(), defaultWindow)
}

// delay is the back-off after so many failures in a row. The first failure of each of the service's replicas is free;
// then it doubles with every round.
func (w *work) delay(failures int) time.Duration {
	restart := w.target.Spec.Restart
	limit := max(cmp.Or(restart.MaxDelay.Std(), defaultMaxDelay), restart.Delay.Std())
	round := (failures - 1) / w.width()
	if round == 0 {
		return 0
	}
	delay := cmp.Or(restart.Delay.Std(), defaultDelay)
	for range round - 1 {
		if delay *= 2; delay >= limit {
			return limit
		}
	}
	return min(delay, limit)
}

// ending says in one line how a replica ended.
func ending(st *holdfast.Status) string {
	how := fmt.Sprintf("exited with code %d", st.ExitCode)
	switch {
	case st.OOM:
		how = "out of memory"
	case st.Reason != "":
		return st.Reason
	case st.ExitCode > 128:
		how = fmt.Sprintf("killed by signal %d", st.ExitCode-128)
	}
	return how
}

// judge ends the rollout when too many of the new release's replicas failed: back to the stable release, or halted.
func (w *work) judge() {
	ro := &w.svc.Rollout
	if ro.To != w.svc.Release || !rolls(ro) || w.svc.Paused {
		return
	}
	failed, why := ro.Failed, ro.Reason
	for _, r := range w.all {
		if r.Desired == holdfast.Run && r.Release == ro.To && r.st.State == holdfast.Failed {
			failed++
			why = ending(r.st)
		}
	}
	if failed == 0 || float64(failed) <= math.Floor(w.policy.MaxFailureRatio*float64(w.width())) {
		return
	}
	reason := fmt.Sprintf("%d of %d replicas failed (%s)", failed, w.width(), why)
	stable := w.release(&w.svc, w.svc.Stable)
	switch action := cmp.Or(w.policy.FailureAction, "rollback"); {
	case stable != nil && action == "rollback" && stable.Number != ro.To:
		w.rollBack(reason)
	case action != "continue" || stable == nil:
		w.halt(reason)
	}
}

func (w *work) rollBack(reason string) {
	failed := *w.target
	failed.Outcome = holdfast.RolledBack
	svc := &w.svc
	svc.Rollout = holdfast.Rollout{
		From: svc.Release, To: svc.Stable, Phase: holdfast.RollingBack, Reason: reason, Started: w.now, Changed: w.now,
		Failed: svc.Rollout.Failed,
	}
	svc.Release, svc.Backoff = svc.Stable, holdfast.Backoff{}
	a := about(svc, holdfast.RolloutFailed, reason, "roll service %s back from release %d to %d", svc.Name, failed.Number, svc.Stable)
	a.puts = append(a.puts, &failed)
	w.add(a)
	w.aim()
}

func (w *work) halt(reason string) {
	failed := *w.target
	failed.Outcome = holdfast.Halted
	w.svc.Rollout.Phase, w.svc.Rollout.Reason, w.svc.Rollout.Changed = holdfast.Halted, reason, w.now
	a := about(&w.svc, holdfast.RolloutFailed, reason, "halt the rollout of release %d of service %s", w.svc.Release, w.svc.Name)
	a.puts = append(a.puts, &failed)
	w.add(a)
}

// recover forgets the failures once all replicas have stayed up, and keeps the reason why the service waits.
func (w *work) recover() {
	b := &w.svc.Backoff
	was := *b
	switch {
	case w.blocked != "":
		b.Reason = w.blocked
	case b.Failures == 0:
		*b = holdfast.Backoff{}
	case w.allSatisfied() && w.due(w.latestReady().Add(w.window())):
		*b = holdfast.Backoff{}
	case w.gaveUp() != nil:
		b.Until = time.Time{}
		b.Reason = fmt.Sprintf("gave up after %d failures, the last: %s", b.Failures+1, ending(w.gaveUp().st))
	}
	if *b == was {
		return
	}
	a := about(&w.svc, "", b.Reason, "service %s is no longer held back", w.svc.Name)
	a.Quiet = true
	if b.Reason != "" {
		a = about(&w.svc, holdfast.ServiceBackedOff, b.Reason, "service %s waits", w.svc.Name)
	}
	w.add(a)
}

// gaveUp returns a replica that failed and is not replaced any more.
func (w *work) gaveUp() *replica {
	for _, s := range w.slots {
		if s.held != nil && s.held.st.State == holdfast.Failed {
			return s.held
		}
	}
	return nil
}

func (w *work) allSatisfied() bool {
	for _, s := range w.slots {
		if !s.satisfied() {
			return false
		}
	}
	return true
}
