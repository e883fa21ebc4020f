package holdfast

import (
	"net/netip"
	"time"
)

// Service is what is wanted of one service now. Its Spec is that of release Release.
type Service struct {
	App      string `json:"app"`
	Name     string `json:"name"`
	Release  int    `json:"release"`          // wanted
	Stable   int    `json:"stable,omitempty"` // last release whose rollout completed; where a rollback goes
	Last     int    `json:"last"`             // highest release number ever given
	Scale    *int   `json:"scale,omitempty"`  // replicas set by `scale`; nil: the release's
	Paused   bool   `json:"paused,omitempty"` // the rollout waits
	Removing bool   `json:"removing,omitempty"`

	Rollout Rollout               `json:"rollout"`
	Backoff Backoff               `json:"backoff"`
	VIPs    map[string]netip.Addr `json:"vips,omitempty"` // by network key
	Run     JobRun                `json:"run"`            // for Job
}

// Phase of a rollout.
type Phase string

// Phases. A rollout goes Rolling → Monitoring → Done, or through RollingBack to RolledBack, or to Halted.
const (
	Rolling     Phase = "rolling"
	Monitoring  Phase = "monitoring"
	Done        Phase = "done"
	RollingBack Phase = "rolling-back"
	RolledBack  Phase = "rolled-back"
	Halted      Phase = "halted" // failed with failure_action pause
)

// Rollout is the way from one release to another.
type Rollout struct {
	From    int       `json:"from,omitempty"` // 0: first deploy
	To      int       `json:"to,omitempty"`
	Phase   Phase     `json:"phase,omitempty"`
	Reason  string    `json:"reason,omitempty"` // one line: why it failed or is where it is
	Started time.Time `json:"started,omitzero"`
	Changed time.Time `json:"changed,omitzero"`
	Failed  int       `json:"failed,omitempty"` // replicas of To that failed
}

// Backoff delays replacements of a service whose replicas keep failing.
type Backoff struct {
	Failures int       `json:"failures,omitempty"` // in a row
	Until    time.Time `json:"until,omitzero"`
	Reason   string    `json:"reason,omitempty"`
}

// JobRun is the state of a job's triggers.
type JobRun struct {
	Requested int       `json:"requested,omitempty"` // runs asked for by hand since the start
	Started   int       `json:"started,omitempty"`   // runs started by hand
	LastFire  time.Time `json:"lastFire,omitzero"`   // last cron fire handled
}

// Release is an immutable version of a service.
type Release struct {
	App     string    `json:"app"`
	Service string    `json:"service"`
	Number  int       `json:"number"` // from 1
	Digest  string    `json:"digest"` // of Spec; equal specs have equal digests
	Spec    Spec      `json:"spec"`
	Created time.Time `json:"created"`
	Note    string    `json:"note,omitempty"` // "deployed", "rollback to 3", …
	Outcome Phase     `json:"outcome,omitempty"`
}
