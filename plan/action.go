// Package plan decides. Its functions are pure: from a snapshot, a request and the time to a list of actions, with no
// I/O, no clock and no random of their own. Plan is what the leader does by itself; Deploy, Down, Scale and their like
// are what a user asks for. The CLI prints the same actions that the store is then changed by.
//
// May import the root package, store (for its snapshot and transaction), network/ipam and libraries.
package plan

import (
	"fmt"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Action is one decision: what is written, what is done in words, and why.
type Action struct {
	App     string `json:"app"`
	Service string `json:"service,omitempty"`
	Replica string `json:"replica,omitempty"`
	Release int    `json:"release,omitempty"`
	Text    string `json:"text"`             // "create replica shop-web-1-k3x9q of release 2 on node a"
	Reason  string `json:"reason,omitempty"` // why, one line
	Quiet   bool   `json:"quiet,omitempty"`  // bookkeeping that a user need not see
	Note    bool   `json:"note,omitempty"`   // changes nothing

	puts    []any
	deletes []any
	depends []any
	event   holdfast.EventType
	allots  bool // chooses subnets, addresses or ports that no other may choose
	uses    bool // must not overlap with an action that allots
}

// allotment is what transactions serialize on that give out what the whole cluster shares.
const allotment = "allotment"

// Apply writes the action into tx. Actions of one plan are applied in their order: each holds the whole of what it
// writes, with the changes of those before it.
func (a Action) Apply(tx *store.Tx) {
	for _, v := range a.depends {
		tx.Depend(v)
	}
	if a.uses {
		tx.DependOn(allotment)
	}
	if a.allots {
		tx.Serialize(allotment)
	}
	for _, v := range a.puts {
		tx.Put(v)
	}
	for _, v := range a.deletes {
		tx.Delete(v)
	}
	if a.event != "" {
		tx.Event(a.Event())
	}
}

// Event returns the event that Apply records, without ID and time. Its Type is "" when there is none.
func (a Action) Event() holdfast.Event {
	return holdfast.Event{
		Type: a.event, App: a.App, Service: a.Service, Release: a.Release, Replica: a.Replica, Node: a.node(),
		Message: a.String(),
	}
}

// Size is the number of keys that Apply writes.
func (a Action) Size() int { return len(a.puts) + len(a.deletes) + 1 }

func (a Action) node() string {
	for _, v := range a.puts {
		if r, ok := v.(*holdfast.Replica); ok {
			return r.Node
		}
	}
	return ""
}

func (a Action) String() string {
	if a.Reason == "" {
		return a.Text
	}
	return a.Text + ": " + a.Reason
}

// Changes reports whether any of actions writes something.
func Changes(actions []Action) bool {
	for _, a := range actions {
		if !a.Note {
			return true
		}
	}
	return false
}

// Apply writes all of actions into tx.
func Apply(tx *store.Tx, actions []Action) {
	for _, a := range actions {
		a.Apply(tx)
	}
}

// about is an action on a whole service, which is written as it is now.
func about(s *holdfast.Service, event holdfast.EventType, reason, format string, args ...any) Action {
	written := *s
	return Action{
		App: s.App, Service: s.Name, Release: s.Release, Reason: reason, Text: fmt.Sprintf(format, args...),
		puts: []any{&written}, event: event,
	}
}
