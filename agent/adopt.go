package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/store"
)

// adopt takes over the containers and sandboxes of an earlier agent on this node, ends replicas whose container is
// gone, and removes what belongs to no replica.
func (a *Agent) adopt(ctx context.Context) error {
	found, err := a.runtime.List(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	snap := a.store.Snapshot()
	var parked []container.Sandbox
	containers := map[string]container.Status{}
	for _, status := range found {
		_, wanted := snap.Replicas.Get(status.ID)
		switch {
		case status.Phase == container.Parked && status.Sandbox.Opt == (container.ParkOptions{}):
			parked = append(parked, status.Sandbox)
		case !wanted:
			a.log.Info("remove container that belongs to no replica", "id", status.ID)
			a.pool.discard(status.ID)
		default:
			containers[status.ID] = status
		}
	}
	if err := a.adoptResources(ctx, parked, containers); err != nil {
		return err
	}
	for id, replica := range snap.Replicas.All("") {
		if replica.Node == a.node.ID {
			a.adoptReplica(ctx, snap, id, *replica, containers)
		}
	}
	a.reports.flush(ctx)
	return a.sweepFiles(snap)
}

// adoptResources takes over what parked sandboxes and containers hold, and frees what nobody does.
func (a *Agent) adoptResources(ctx context.Context, parked []container.Sandbox, containers map[string]container.Status) error {
	var sandboxes, replicas []string
	for _, sandbox := range parked {
		sandboxes = append(sandboxes, sandbox.ID)
	}
	for id, status := range containers {
		if status.Phase != container.Exited {
			sandboxes, replicas = append(sandboxes, status.Sandbox.ID), append(replicas, id)
		}
	}
	missing, err := a.network.Adopt(ctx, sandboxes)
	if err != nil {
		return fmt.Errorf("adopt network: %w", err)
	}
	parked = slices.DeleteFunc(parked, func(s container.Sandbox) bool {
		unusable := slices.Contains(missing, s.ID)
		if unusable {
			a.pool.discard(s.ID)
		}
		return unusable
	})
	a.pool.adopt(parked)
	if err := a.volumes.Adopt(ctx, replicas); err != nil {
		return fmt.Errorf("adopt volumes: %w", err)
	}
	return nil
}

func (a *Agent) adoptReplica(ctx context.Context, snap *store.Snapshot, id string, replica holdfast.Replica, containers map[string]container.Status) {
	status, reported := snap.Statuses.Get(id)
	found, running := containers[id]
	if !reported {
		status = &holdfast.Status{ID: id, Node: a.node.ID, State: holdfast.Preparing, Since: a.now()}
	}
	switch {
	case status.State.Ended():
		if running {
			a.pool.discard(id)
		}
	case running, holdfast.Preparing.Before(status.State):
		t, err := a.newTaskFor(snap, replica)
		if err != nil {
			a.log.Error("adopt replica", "replica", id, "err", err)
			return
		}
		t.config.StopSignal = found.Labels[labelStopSignal]
		if replica.Desired == holdfast.Stop {
			t.askStop(replica.StopWhy, replica.Kill)
		}
		a.launch(ctx, t, t.adopt(*status, found))
	}
}

// sweepFiles removes the files and logs of replicas that are no more.
func (a *Agent) sweepFiles(snap *store.Snapshot) error {
	for _, dir := range []string{filepath.Join(a.runDir, "files"), filepath.Join(a.dataDir, "logs")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("sweep files: %w", err)
		}
		for _, e := range entries {
			if _, ok := snap.Replicas.Get(ownerOf(e.Name())); ok {
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("sweep files: %w", err)
			}
		}
	}
	return nil
}

func (a *Agent) removeLog(replica string) {
	if err := os.RemoveAll(filepath.Dir(a.logPath(replica))); err != nil {
		a.log.Warn("remove log", "replica", replica, "err", err)
	}
}

// owner is the replica that a task works for: itself, or for a pre-start hook the one that it prepares.
func (t *task) owner() string { return ownerOf(t.replica.ID) }

func ownerOf(id string) string {
	replica, _, _ := strings.Cut(id, hookMark)
	return replica
}

// hookMark separates a replica's ID from the number of its pre-start hook; it is in no replica's ID.
const hookMark = ".pre"

// heartbeatEvery is how often a node shows that it is alive.
const heartbeatEvery = 30 * time.Second

func (a *Agent) registerNode(ctx context.Context) error {
	node := a.node
	return a.store.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) error {
		node.Started, node.Seen = a.now(), a.now()
		old, known := snap.Nodes.Get(node.ID)
		if known {
			node.Drained, node.Labels = old.Drained, mergeLabels(old.Labels, node.Labels)
		} else {
			tx.Event(holdfast.Event{Type: holdfast.NodeJoined, Node: node.ID, Message: "node " + node.Name + " joined"})
		}
		tx.Put(&node)
		return nil
	})
}

// mergeLabels returns the labels of both; those given to the agent win over those set later.
func mergeLabels(set, given map[string]string) map[string]string {
	merged := map[string]string{}
	for _, labels := range []map[string]string{set, given} {
		for k, v := range labels {
			merged[k] = v
		}
	}
	return merged
}

func (a *Agent) heartbeat(ctx context.Context) error {
	for sleep(ctx, heartbeatEvery) {
		err := a.store.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) error {
			node, ok := snap.Nodes.Get(a.node.ID)
			if !ok {
				return holdfast.Errorf(holdfast.ErrNotFound, "node %s is not in the store", a.node.ID)
			}
			seen := *node
			seen.Seen = a.now()
			tx.Put(&seen)
			return nil
		})
		if err != nil && ctx.Err() == nil {
			a.log.Warn("write heartbeat", "err", err)
		}
	}
	return context.Cause(ctx)
}

// runningReplica returns a running replica of a service on this node, for network_mode service:….
func (a *Agent) runningReplica(app, service string) (string, error) {
	snap := a.store.Snapshot()
	for id, r := range snap.Replicas.All("") {
		if r.App != app || r.Service != service || r.Node != a.node.ID || r.Desired != holdfast.Run {
			continue
		}
		if st, ok := snap.Statuses.Get(id); ok && (st.State == holdfast.Starting || st.State == holdfast.Running) {
			return id, nil
		}
	}
	return "", holdfast.Errorf(holdfast.ErrUnavailable, "service %s, whose network it shares, has no running replica on this node", service)
}

// firstOfRelease reports whether no other replica of r's release was ever ready.
func (a *Agent) firstOfRelease(r holdfast.Replica) bool {
	snap := a.store.Snapshot()
	for id, other := range snap.Replicas.All("") {
		if id == r.ID || other.App != r.App || other.Service != r.Service || other.Release != r.Release {
			continue
		}
		if st, ok := snap.Statuses.Get(id); ok && !st.ReadyAt.IsZero() {
			return false
		}
	}
	return r.Slot == 1 || r.Slot == 0
}

func cutService(mode string) (service string, ok bool) { return strings.CutPrefix(mode, "service:") }
