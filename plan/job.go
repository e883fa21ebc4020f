package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // triggers mean the same on every node

	"github.com/robfig/cron/v3"

	"github.com/holdfast/holdfast"
)

// missedAfter is how late a fire may be handled and still count as on time.
const missedAfter = time.Minute

// parseTrigger returns when t fires. Its times are UTC unless it names a timezone.
func parseTrigger(t holdfast.Trigger) (cron.Schedule, error) {
	zone := t.Timezone
	if zone == "" {
		zone = "UTC"
	}
	if _, err := time.LoadLocation(zone); err != nil || zone == "Local" {
		return nil, fmt.Errorf("trigger %q: unknown timezone %q", t.Cron, t.Timezone)
	}
	if strings.Contains(t.Cron, "TZ=") || strings.ContainsAny(t.Timezone, " \t") {
		return nil, fmt.Errorf("trigger %q: give the timezone in its own key", t.Cron)
	}
	s, err := cron.ParseStandard("CRON_TZ=" + zone + " " + t.Cron)
	if err != nil {
		return nil, fmt.Errorf("trigger %q: %w", t.Cron, err)
	}
	return s, nil
}

// job plans a service that runs to its end when triggered. Each run is a replica.
func (w *work) job() {
	w.settleRelease()
	w.retry()
	w.requested()
	for _, t := range w.target.Spec.Triggers {
		w.fire(t)
	}
	if w.svc.Backoff.Reason != w.blocked {
		w.svc.Backoff.Reason = w.blocked
		a := about(&w.svc, "", w.blocked, "job %s waits", w.svc.Name)
		a.Quiet = w.blocked == ""
		w.add(a)
	}
}

// settleRelease makes a new release the stable one: a job has nothing to roll.
func (w *work) settleRelease() {
	if w.svc.Rollout.Phase != holdfast.Rolling {
		return
	}
	w.enter(holdfast.Done)
	w.svc.Stable = w.svc.Release
	release := *w.target
	release.Outcome = holdfast.Done
	a := about(&w.svc, "", "the next run uses it", "release %d of job %s is in force", release.Number, w.svc.Name)
	a.puts, a.Quiet = append(a.puts, &release), true
	w.add(a)
}

// active reports whether a run has not ended.
func (w *work) active() bool {
	return slices.ContainsFunc(w.all, func(r *replica) bool { return !r.ended() })
}

// retry starts a failed run again, after the back-off, as often as the restart policy says.
func (w *work) retry() {
	restart := w.target.Spec.Restart
	for _, r := range slices.Clone(w.all) {
		if r.Desired != holdfast.Run || r.st.State != holdfast.Failed {
			continue
		}
		failures := w.svc.Backoff.Failures + 1
		spent := restart.Condition == "none" || restart.MaxAttempts > 0 && failures > restart.MaxAttempts
		if spent || r.Release != w.svc.Release || !w.due(r.st.Finished.Add(w.delay(failures))) {
			continue
		}
		why := ending(r.st)
		if !w.run(r.Slot, fmt.Sprintf("attempt %d, after %s: %s", failures+1, r.ID, why)) {
			return
		}
		w.svc.Backoff.Failures = failures
		w.end(r, why, 0)
		a := w.replicaAction(r, "", why, "replica %s of release %d failed", r.ID, r.Release)
		w.withService(&a)
		w.add(a)
	}
}

// requested starts the runs asked for by hand, one after the other.
func (w *work) requested() {
	if w.svc.Run.Requested <= w.svc.Run.Started || w.active() {
		return
	}
	if w.startRun("asked for by hand") {
		w.svc.Run.Started++
		w.fired("asked for by hand")
	}
}

// fire handles a fire of t that has come.
func (w *work) fire(t holdfast.Trigger) {
	schedule, err := parseTrigger(t)
	if err != nil {
		w.blocked = err.Error()
		return
	}
	first := schedule.Next(w.svc.Run.LastFire)
	if first.IsZero() || !w.due(first) {
		return
	}
	at := first
	if t.Concurrency != "queue" {
		at = lastFire(schedule, first, w.now)
	}
	late := t.Concurrency != "queue" && w.now.Sub(at) > missedAfter
	switch {
	case t.Concurrency == "queue" && w.active():
		return
	case late && t.MissedFires == "skip":
		w.skip(at, "it was missed")
	case t.Concurrency == "forbid" && w.active():
		w.skip(at, "the run before has not ended")
	case w.startRun("fired by " + t.Cron):
		w.svc.Run.LastFire = at
		w.fired("fired by " + t.Cron + " at " + at.UTC().Format(time.RFC3339))
	}
	w.wake(schedule.Next(w.now))
}

func (w *work) skip(at time.Time, why string) {
	w.svc.Run.LastFire = at
	w.add(about(&w.svc, holdfast.JobFired, why, "skip the run of job %s at %s", w.svc.Name, at.UTC().Format(time.RFC3339)))
}

func (w *work) fired(why string) {
	w.add(about(&w.svc, holdfast.JobFired, why, "run job %s", w.svc.Name))
}

// startRun starts a run in the lowest slot that is free, and closes the runs before it.
func (w *work) startRun(why string) bool {
	slot := 1
	for slices.ContainsFunc(w.all, func(r *replica) bool { return !r.ended() && r.Slot == slot }) {
		slot++
	}
	ended := slices.DeleteFunc(slices.Clone(w.all), func(r *replica) bool { return r.Desired != holdfast.Run || !r.ended() })
	if !w.run(slot, why) {
		return false
	}
	w.svc.Backoff.Failures = 0
	for _, r := range ended {
		w.retire(r, "another run started", true)
	}
	return true
}

// run creates the replica of one run, when the job's dependencies hold.
func (w *work) run(slotNumber int, why string) bool {
	for _, dep := range w.target.Spec.DependsOn {
		if unmet := w.unmet(dep); unmet != "" {
			w.blocked = unmet
			return false
		}
	}
	return w.create(&slot{number: slotNumber}, w.svc.Release, why)
}

// lastFire returns the newest fire up to now, given that first is one.
func lastFire(schedule cron.Schedule, first, now time.Time) time.Time {
	const day = 24 * time.Hour
	for _, back := range []time.Duration{time.Minute, time.Hour, day, 31 * day, 366 * day} {
		at := schedule.Next(now.Add(-back))
		if at.IsZero() || at.After(now) || at.Before(first) {
			continue
		}
		for next := schedule.Next(at); !next.IsZero() && !next.After(now); next = schedule.Next(at) {
			at = next
		}
		return at
	}
	return first
}
