package holdfast

import "time"

// Event is something a user cares about. Events are written in the transaction that they tell of.
type Event struct {
	ID      string    `json:"id"` // sorts by time
	Time    time.Time `json:"time"`
	Type    EventType `json:"type"`
	App     string    `json:"app,omitempty"`
	Service string    `json:"service,omitempty"`
	Release int       `json:"release,omitempty"`
	Replica string    `json:"replica,omitempty"`
	Node    string    `json:"node,omitempty"`
	Message string    `json:"message"` // one line, reason included
}

// EventType is "<noun>.<past participle>".
type EventType string

// Types of event.
const (
	AppDeployed       EventType = "app.deployed"
	AppRemoved        EventType = "app.removed"
	ReleaseCreated    EventType = "release.created"
	RolloutStarted    EventType = "rollout.started"
	RolloutDone       EventType = "rollout.done"
	RolloutPaused     EventType = "rollout.paused"
	RolloutResumed    EventType = "rollout.resumed"
	RolloutFailed     EventType = "rollout.failed"
	RolloutRolledBack EventType = "rollout.rolled-back"
	ServiceScaled     EventType = "service.scaled"
	ServiceRemoved    EventType = "service.removed"
	ServiceBackedOff  EventType = "service.backed-off"
	ReplicaCreated    EventType = "replica.created"
	ReplicaReady      EventType = "replica.ready"
	ReplicaUnready    EventType = "replica.unready"
	ReplicaStopping   EventType = "replica.stopping"
	ReplicaStopped    EventType = "replica.stopped"
	ReplicaFailed     EventType = "replica.failed"
	NodeJoined        EventType = "node.joined"
	JobFired          EventType = "job.fired"
)
