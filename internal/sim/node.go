package sim

import (
	"fmt"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// fate is what becomes of the replicas of an image.
type fate int

const (
	good fate = iota
	exitsAtOnce
	neverReady
	exitsSoon // after it was ready
	slow
)

// node is a simulated node with its agent.
type node struct {
	id   string
	down bool // its agent does nothing
}

func (s *Sim) addNodes() {
	for i := range 1 + s.random.IntN(3) {
		n := &node{id: string(rune('a' + i))}
		s.nodes = append(s.nodes, n)
		s.update(func(_ *store.Snapshot, tx *store.Tx) error {
			tx.Put(&holdfast.Node{ID: n.id, Name: n.id, CPUs: 8, MemBytes: 16 << 30})
			return nil
		})
	}
}

// replicas returns those that are assigned to n and have not ended.
func (n *node) replicas(snap *store.Snapshot) []*holdfast.Replica {
	var out []*holdfast.Replica
	for id, r := range snap.Replicas.All("") {
		if st, ok := snap.Statuses.Get(id); r.Node == n.id && (!ok || !st.State.Ended()) {
			out = append(out, r)
		}
	}
	return out
}

// act moves one of the node's replicas on.
func (n *node) act(s *Sim) {
	if all := n.replicas(s.store.Snapshot()); len(all) > 0 && !n.down {
		n.move(s, all[s.random.IntN(len(all))].ID)
	}
}

// actAll moves all of the node's replicas on.
func (n *node) actAll(s *Sim) {
	for _, r := range n.replicas(s.store.Snapshot()) {
		n.move(s, r.ID)
	}
}

// misfortune kills a replica or the node's agent, or brings the agent back.
func (n *node) misfortune(s *Sim) {
	all := n.replicas(s.store.Snapshot())
	switch k := s.random.IntN(10); {
	case k < 2:
		n.down = !n.down
		s.trace("node %s: agent down %v", n.id, n.down)
	case len(all) > 0:
		r := all[s.random.IntN(len(all))]
		n.report(s, r.ID, func(st *holdfast.Status, _ *holdfast.Replica) bool {
			if st.Started.IsZero() {
				return false
			}
			if s.random.IntN(4) == 0 { // a liveness probe failed: the node ends it by itself
				st.State, st.Ready, st.Reason = holdfast.Stopping, false, "unhealthy"
				return true
			}
			n.end(s, st, []int{0, 1, 137}[s.random.IntN(3)], "")
			return true
		})
	}
}

func (n *node) end(s *Sim, st *holdfast.Status, code int, reason string) {
	st.State, st.Ready, st.Finished, st.ExitCode, st.Reason = holdfast.Failed, false, s.now, code, reason
	if code == 0 {
		st.State = holdfast.Stopped
	}
}

// report changes the status of a replica, if change says so.
func (n *node) report(s *Sim, id string, change func(*holdfast.Status, *holdfast.Replica) bool) {
	s.update(func(snap *store.Snapshot, tx *store.Tx) error {
		r, ok := snap.Replicas.Get(id)
		if !ok {
			return nil
		}
		st := holdfast.Status{ID: id, Node: n.id}
		if was, ok := snap.Statuses.Get(id); ok {
			st = *was
		}
		was := st.State
		if st.State.Ended() || !change(&st, r) {
			return nil
		}
		if st.State != was {
			st.Since = s.now
			s.trace("node %s: replica %s is %s", n.id, id, st.State)
		}
		tx.Put(&st)
		return nil
	})
}

// move takes one step of a replica's life.
func (n *node) move(s *Sim, id string) {
	n.report(s, id, func(st *holdfast.Status, r *holdfast.Replica) bool {
		if r.Desired == holdfast.Stop {
			return n.wind(s, st, r)
		}
		image := ""
		if rel, ok := s.store.Snapshot().Releases.Get(store.ReleaseKey(r.App, r.Service, r.Release)); ok {
			image = rel.Spec.Image
		}
		return n.live(s, st, s.bad[image])
	})
}

// live goes on towards a running replica.
func (n *node) live(s *Sim, st *holdfast.Status, f fate) bool {
	switch st.State {
	case "":
		st.State = holdfast.Assigned
	case holdfast.Assigned:
		st.State = holdfast.Preparing
	case holdfast.Preparing:
		st.State, st.Started = holdfast.Starting, s.now
	case holdfast.Starting:
		switch {
		case f == exitsAtOnce:
			n.end(s, st, 1, "bad release")
		case f == neverReady, f == slow && s.now.Sub(st.Started) < 3*time.Second:
			return false
		default:
			st.State, st.Ready, st.ReadyAt = holdfast.Running, true, s.now
		}
	case holdfast.Stopping:
		n.end(s, st, 143, "unhealthy")
	case holdfast.Running:
		switch {
		case f == exitsSoon && s.now.Sub(st.ReadyAt) > time.Second:
			n.end(s, st, 2, "bad release")
		case s.cfg.Steps > 0 && s.kv.fault != nil && s.random.IntN(20) == 0:
			st.Ready = !st.Ready // its probe flaps
		case !st.Ready:
			st.Ready = true
		default:
			return false
		}
	}
	return true
}

// wind goes on towards a stopped replica.
func (n *node) wind(s *Sim, st *holdfast.Status, r *holdfast.Replica) bool {
	st.Ready = false
	switch {
	case st.Started.IsZero(), r.Kill, st.State == holdfast.Stopping:
		n.end(s, st, 0, "stopped as asked")
	case st.State == holdfast.Draining:
		st.State = holdfast.Stopping
	default:
		st.State = holdfast.Draining
	}
	return true
}

// drained returns the names of the nodes that get no replicas.
func drained(snap *store.Snapshot) []string {
	var out []string
	for id, n := range snap.Nodes.All("") {
		if n.Drained {
			out = append(out, id)
		}
	}
	return out
}

// drain drains a node or opens it again; never all of them.
func (s *Sim) drain() {
	n := s.node()
	s.update(func(snap *store.Snapshot, tx *store.Tx) error {
		was, _ := snap.Nodes.Get(n.id)
		others := drained(snap)
		if !was.Drained && len(others) >= len(s.nodes)-1 {
			return nil
		}
		next := *was
		next.Drained = !was.Drained
		s.trace("user: node %s drained %v", n.id, next.Drained)
		tx.Put(&next)
		return nil
	})
}

func (s *Sim) image(name string, f fate) string {
	image := fmt.Sprintf("%s:%d", name, len(s.bad))
	s.bad[image] = f
	return image
}

func (s *Sim) anyFate() fate {
	fates := []fate{good, good, good, slow, exitsAtOnce, neverReady, exitsSoon}
	return fates[s.random.IntN(len(fates))]
}
