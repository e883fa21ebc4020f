package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// task takes one replica from assigned to ended. Its goroutine runs the steps in order and is the only one to change
// its status; the agent's loop tells it of changes through channels.
type task struct {
	agent   *Agent
	log     *slog.Logger
	replica holdfast.Replica
	app     holdfast.App
	spec    holdfast.Spec

	stop     chan struct{} // closed when the replica is to stop
	kill     chan struct{} // closed when it is to stop without drain and grace
	stopOnce sync.Once
	killOnce sync.Once
	stopWhy  string
	drained  chan struct{} // closed when every gateway has confirmed
	drainSet sync.Once
	exited   chan container.Status // capacity 1
	done     chan struct{}         // closed when the goroutine ended

	status holdfast.Status

	// Filled in by the steps.
	image   Image
	config  imagespec.ImageConfig
	sandbox container.Sandbox
	oci     *specs.Spec
	started bool // the container exists
}

func newTask(a *Agent, replica holdfast.Replica, app holdfast.App, spec holdfast.Spec) *task {
	return &task{
		agent: a, log: a.log.With("replica", replica.ID), replica: replica, app: app, spec: spec,
		stop: make(chan struct{}), kill: make(chan struct{}), drained: make(chan struct{}),
		exited: make(chan container.Status, 1), done: make(chan struct{}),
		status: holdfast.Status{ID: replica.ID, Node: replica.Node},
	}
}

// askStop asks the task to stop; with kill at once. It may be called again, also to turn a stop into a kill.
func (t *task) askStop(why string, kill bool) {
	t.stopOnce.Do(func() { t.stopWhy = why; close(t.stop) })
	if kill {
		t.killOnce.Do(func() { close(t.kill) })
	}
}

func (t *task) confirmDrained() { t.drainSet.Do(func() { close(t.drained) }) }

// step is one step on the way up. Each is undone by cleanup, whatever was reached.
type step struct {
	what string
	do   func(*task, context.Context) error
}

// prepareSteps lead from nothing to a sandbox that waits for its network and its container.
var prepareSteps = []step{
	{"get image", (*task).getImage},
	{"prepare container", (*task).prepareConfig},
	{"mount volumes", (*task).prepareVolumes},
	{"park sandbox", (*task).takeSandbox},
	{"write files", (*task).writeFiles},
}

// startSteps come after the pre-start hooks, which have the replica's addresses until then.
var startSteps = []step{
	{"connect network", (*task).connectNetwork},
	{"start container", (*task).startContainer},
}

func (t *task) runSteps(ctx context.Context, steps ...step) error {
	for _, s := range steps {
		if err := s.do(t, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}

// run takes a new replica through its life.
func (t *task) run(ctx context.Context) {
	t.report(holdfast.Preparing, "")
	if err := t.bringUp(ctx); err != nil {
		if ctx.Err() != nil {
			t.cleanup()
			return // the next agent starts it anew
		}
		t.endEarly(err)
		return
	}
	t.report(holdfast.Starting, t.startingReason())
	t.supervise(ctx)
}

// adopt takes over a container that an earlier agent started; found is the zero Status when it is gone. It reports what
// has changed since, and returns the rest of the replica's life.
func (t *task) adopt(last holdfast.Status, found container.Status) (life func(context.Context)) {
	t.status = last
	t.sandbox, t.started = found.Sandbox, found.ID != ""
	switch {
	case !t.started:
		t.report(t.lost())
		return t.cleanupOnly
	case found.Phase == container.Exited:
		t.report(t.outcome(found))
		return t.cleanupOnly
	}
	if last.State.Before(holdfast.Starting) {
		t.status.Started, t.status.PID = found.Started, found.PID
		t.report(holdfast.Starting, t.startingReason())
	}
	return t.supervise
}

func (t *task) cleanupOnly(context.Context) { t.cleanup() }

// bringUp runs the start steps; a stop that comes meanwhile cancels them.
func (t *task) bringUp(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-t.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := t.runSteps(ctx, prepareSteps...); err != nil {
		return err
	}
	if err := t.runSteps(ctx, step{"run pre_start hook", (*task).runPreStart}); err != nil {
		return err
	}
	if err := t.runSteps(ctx, startSteps...); err != nil {
		return err
	}
	return t.runSteps(ctx, step{"run post_start hook", (*task).runPostStart})
}

// endEarly reports a replica that never ran, or was stopped on its way up.
func (t *task) endEarly(err error) {
	defer t.cleanup()
	if t.started {
		t.killContainer()
	}
	t.status.Finished = t.agent.now()
	select {
	case <-t.stop:
		t.report(holdfast.Stopped, t.stopWhy)
	default:
		t.report(holdfast.Failed, err.Error())
	}
}

// supervise follows a running container to its end.
func (t *task) supervise(ctx context.Context) {
	probing, stopProbes := context.WithCancel(ctx)
	defer stopProbes()
	verdicts := make(chan verdict)
	t.startProbes(probing, verdicts)
	for {
		select {
		case <-ctx.Done():
			return // the container goes on; the next agent adopts it
		case found := <-t.exited:
			t.ended(found)
			return
		case <-t.stop:
			stopProbes()
			t.shutDown(ctx)
			return
		case v := <-verdicts:
			if !t.judge(v) {
				stopProbes()
				t.replaceUnhealthy(ctx, v.detail)
				return
			}
		}
	}
}

// judge takes a probe's verdict in; false when the replica has to go.
func (t *task) judge(v verdict) bool {
	if v.liveness {
		return v.healthy
	}
	t.setReady(v.healthy, v.detail)
	return true
}

func (t *task) setReady(ready bool, detail string) {
	if ready == t.status.Ready && t.status.State == holdfast.Running {
		return
	}
	if !ready && t.status.State != holdfast.Running {
		t.status.Reason = detail
		t.agent.reports.put(t.status)
		return
	}
	t.status.Ready = ready
	t.status.Reason = detail
	event := holdfast.ReplicaUnready
	if ready {
		event = holdfast.ReplicaReady
		if t.status.ReadyAt.IsZero() {
			t.status.ReadyAt = t.agent.now()
		}
	}
	t.advance(holdfast.Running)
	t.agent.reports.put(t.status, t.event(event, t.readyMessage(detail)))
}

func (t *task) readyMessage(detail string) string {
	if detail != "" {
		return detail
	}
	return fmt.Sprintf("ready %s after its start", t.status.ReadyAt.Sub(t.status.Started).Round(time.Millisecond))
}

// report moves the status forward and hands it to the reporter.
func (t *task) report(state holdfast.State, reason string) {
	leaving := t.status.State.Before(holdfast.Draining)
	t.status.Reason = reason
	t.advance(state)
	var events []holdfast.Event
	switch state {
	case holdfast.Draining, holdfast.Stopping:
		if leaving {
			events = append(events, t.event(holdfast.ReplicaStopping, reason))
		}
	case holdfast.Stopped:
		events = append(events, t.event(holdfast.ReplicaStopped, reason))
	case holdfast.Failed:
		events = append(events, t.event(holdfast.ReplicaFailed, reason))
	}
	t.agent.reports.put(t.status, events...)
}

func (t *task) advance(state holdfast.State) {
	if t.status.State.Before(state) {
		t.status.State = state
		t.status.Since = t.agent.now()
	}
}

func (t *task) event(kind holdfast.EventType, message string) holdfast.Event {
	r := t.replica
	return holdfast.Event{Type: kind, App: r.App, Service: r.Service, Release: r.Release, Replica: r.ID, Node: r.Node, Message: message}
}

// address is where probes reach the replica from this node; invalid when nowhere.
func (t *task) address() netip.Addr {
	if t.spec.NetworkMode == "host" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return primaryAddress(&t.spec, t.replica.Addresses)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
