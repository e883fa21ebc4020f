package compose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/robfig/cron/v3"
)

// jobTriggers turns triggers into Spec.Triggers.
func (e *entry) jobTriggers() {
	if e.triggers == nil {
		return
	}
	if m := e.triggers.Manual; m != nil && !*m {
		e.cannot(at("triggers", "manual"), "a job can always be run by hand: leave it out")
	}
	for i, s := range e.triggers.Schedule {
		t := holdfast.Trigger{Cron: s.Cron, Timezone: s.Timezone, Concurrency: s.Concurrency, MissedFires: s.MissedFires}
		where := func(key string) []any { return at("triggers", "schedule", i, key) }
		if why := cronProblem(s.Cron); why != "" {
			e.badItem(where("cron"), s.Cron, "%s", why)
		}
		if _, err := time.LoadLocation(s.Timezone); err != nil || s.Timezone == "Local" {
			e.bad(where("timezone"), "unknown time zone %q: write a name such as Europe/Berlin, or leave it out for UTC", s.Timezone)
		}
		set := func(key string, to *string, words ...string) {
			if *to != "" && !slices.Contains(words, *to) {
				e.bad(where(key), "unknown word %q: use %s", *to, orList(words))
			}
		}
		set("concurrency", &t.Concurrency, "forbid", "queue")
		set("missed_fires", &t.MissedFires, "one", "skip")
		fill(e, fmt.Sprintf("triggers.%d.concurrency", i), &t.Concurrency, "forbid", t.Concurrency != "")
		fill(e, fmt.Sprintf("triggers.%d.missedFires", i), &t.MissedFires, "skip", t.MissedFires != "")
		e.spec.Triggers = append(e.spec.Triggers, t)
	}
}

// cronProblem says what is wrong with a schedule, or "".
func cronProblem(text string) string {
	if strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=") {
		return "the time zone has a key of its own: timezone"
	}
	schedule, err := cron.ParseStandard(text)
	if err != nil {
		return fmt.Sprintf("%q is not a schedule: %s; write five fields such as 30 2 * * *, or @daily", text, err)
	}
	if schedule.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return fmt.Sprintf("%q never comes", text)
	}
	return ""
}
