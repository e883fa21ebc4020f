package agent

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// replaceUnhealthy ends a container whose liveness probe failed: unrouted first, then signal, grace, kill.
func (t *task) replaceUnhealthy(ctx context.Context, detail string) {
	reason := "unhealthy: " + detail
	t.status.Ready = false
	t.report(holdfast.Stopping, reason)
	found, ok := t.terminate(ctx)
	if !ok {
		return
	}
	t.fillExit(found)
	t.finish(holdfast.Failed, reason)
}

// shutDown is the order of DESIGN §6: unroute, confirm, drain, pre-stop hooks, signal, grace, kill.
func (t *task) shutDown(ctx context.Context) {
	t.status.Ready = false
	if t.agent.routed(&t.spec) && !closed(t.kill) {
		t.report(holdfast.Draining, t.stopWhy)
		if found, ended := t.waitDrained(ctx); ended {
			t.ended(found)
			return
		}
	}
	t.report(holdfast.Stopping, t.stopWhy)
	if !closed(t.kill) {
		t.runPreStop(ctx)
	}
	found, ok := t.terminate(ctx)
	if !ok {
		return
	}
	t.fillExit(found)
	t.finish(holdfast.Stopped, t.stopWhy)
}

// waitDrained waits until every gateway has confirmed that nothing is in flight, or the grace is over.
func (t *task) waitDrained(ctx context.Context) (found container.Status, ended bool) {
	deadline := time.NewTimer(t.spec.Process.StopGrace.Std())
	defer deadline.Stop()
	select {
	case <-ctx.Done():
	case <-t.drained:
	case <-t.kill:
	case <-deadline.C:
		t.log.Info("drain deadline passed")
	case found = <-t.exited:
		return found, true
	}
	return container.Status{}, false
}

// terminate sends the stop signal and, when the grace is over or on kill, SIGKILL; false when ctx ended first.
func (t *task) terminate(ctx context.Context) (container.Status, bool) {
	id := t.replica.ID
	if !closed(t.kill) {
		if err := t.agent.runtime.Signal(ctx, id, t.stopSignal()); err != nil {
			t.log.Debug("send stop signal", "err", err)
		}
	}
	grace := time.NewTimer(t.spec.Process.StopGrace.Std())
	defer grace.Stop()
	select {
	case found := <-t.exited:
		return found, true
	case <-ctx.Done():
		return container.Status{}, false
	case <-t.kill:
	case <-grace.C:
	}
	if err := t.agent.runtime.Kill(ctx, id); err != nil {
		t.log.Warn("kill container", "err", err)
	}
	select {
	case found := <-t.exited:
		return found, true
	case <-ctx.Done():
		return container.Status{}, false
	}
}

func (t *task) stopSignal() syscall.Signal {
	name := t.spec.Process.StopSignal
	if name == "" {
		name = t.config.StopSignal
	}
	return signalNamed(name, syscall.SIGTERM)
}

// ended reports a container that ended by itself.
func (t *task) ended(found container.Status) { t.finish(t.outcome(found)) }

// outcome is what became of a replica whose container ended by itself.
func (t *task) outcome(found container.Status) (holdfast.State, string) {
	t.fillExit(found)
	switch {
	case closed(t.stop):
		return holdfast.Stopped, t.stopWhy
	case found.ExitCode == 0:
		return holdfast.Stopped, exitReason(found)
	default:
		return holdfast.Failed, exitReason(found)
	}
}

// lost is what became of a replica whose container is gone without a trace.
func (t *task) lost() (holdfast.State, string) {
	t.status.Ready, t.status.Finished = false, t.agent.now()
	if closed(t.stop) {
		return holdfast.Stopped, t.stopWhy
	}
	return holdfast.Failed, "its container is gone: the node was restarted"
}

func (t *task) fillExit(found container.Status) {
	t.status.Ready = false
	t.status.ExitCode, t.status.OOM, t.status.Finished = found.ExitCode, found.OOM, found.Finished
}

func exitReason(found container.Status) string {
	switch {
	case found.OOM:
		return "killed: out of memory"
	case found.ExitCode > 128 && found.ExitCode < 128+65:
		return "killed by " + signalName(syscall.Signal(found.ExitCode-128))
	default:
		return fmt.Sprintf("exited with code %d", found.ExitCode)
	}
}

// finish reports the end before it cleans up, so that a replacement does not wait for that.
func (t *task) finish(state holdfast.State, reason string) {
	t.report(state, reason)
	t.cleanup()
}

func (t *task) killContainer() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	if err := t.agent.runtime.Kill(ctx, t.replica.ID); err != nil {
		t.log.Warn("kill container", "err", err)
	}
}
