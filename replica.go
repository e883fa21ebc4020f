package holdfast

import (
	"net/netip"
	"time"
)

// Desired is what a replica is meant to do. It only moves from Run to Stop.
type Desired string

// What a replica can be meant to do.
const (
	Run  Desired = "run"
	Stop Desired = "stop"
)

// Replica is one one-shot instance of a release, as the control loop wants it. It is replaced, never restarted.
type Replica struct {
	ID        string                `json:"id"` // unique for ever: "<app>-<service>-<slot>-<random>"
	App       string                `json:"app"`
	Service   string                `json:"service"`
	Release   int                   `json:"release"`
	Slot      int                   `json:"slot"` // stable identity within the service, from 1
	Node      string                `json:"node"` // node ID
	Desired   Desired               `json:"desired"`
	Addresses map[string]netip.Addr `json:"addresses,omitempty"` // by network key
	Reason    string                `json:"reason"`              // why it was created
	Created   time.Time             `json:"created"`
	StopWhy   string                `json:"stopWhy,omitempty"` // why it is to stop
	StopSince time.Time             `json:"stopSince,omitzero"`
	Kill      bool                  `json:"kill,omitempty"`      // stop at once: no drain, no grace
	Successor int                   `json:"successor,omitempty"` // release that takes its slot once it has stopped; 0: not for an update
}

// State of a replica as its node sees it. States only move forward, in the order of the constants.
type State string

// States of a replica.
const (
	Assigned  State = "assigned"  // the node knows of it
	Preparing State = "preparing" // image, volumes, network
	Starting  State = "starting"  // container being started, or not ready yet
	Running   State = "running"   // was ready once; Status.Ready says whether it is now
	Draining  State = "draining"  // unrouted; requests in flight are finishing
	Stopping  State = "stopping"  // stop signal sent
	Stopped   State = "stopped"   // ended as asked, or by itself with exit code 0
	Failed    State = "failed"    // ended otherwise; Status.Reason says how
)

var stateOrder = map[State]int{
	"": 0, Assigned: 1, Preparing: 2, Starting: 3, Running: 4, Draining: 5, Stopping: 6, Stopped: 7, Failed: 7,
}

// Before reports whether s may still move on to next.
func (s State) Before(next State) bool { return stateOrder[s] < stateOrder[next] }

// Ended reports whether the replica's processes are gone for good.
func (s State) Ended() bool { return s == Stopped || s == Failed }

// Status is what a replica really does, as its node's agent reports it.
type Status struct {
	ID       string    `json:"id"` // replica
	Node     string    `json:"node"`
	State    State     `json:"state"`
	Ready    bool      `json:"ready"`
	Reason   string    `json:"reason,omitempty"` // one line
	Since    time.Time `json:"since"`            // of State
	Started  time.Time `json:"started,omitzero"` // first instruction
	ReadyAt  time.Time `json:"readyAt,omitzero"` // first time ready
	Finished time.Time `json:"finished,omitzero"`
	ExitCode int       `json:"exitCode,omitempty"` // 128+signal when killed by one
	OOM      bool      `json:"oom,omitempty"`
	PID      int       `json:"pid,omitempty"` // on its node
}

// Drain is one gateway's confirmation that a replica is no longer routed to, and what is still in flight to it.
type Drain struct {
	Replica  string    `json:"replica"`
	Node     string    `json:"node"` // the gateway's
	InFlight int       `json:"inFlight"`
	Changed  time.Time `json:"changed"`
}
