//go:build linux

package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// lastOutput is how long the output of an ended container is waited for: nearly always it is at its end already.
const lastOutput = 2 * time.Second

// follow waits for the container's end and records it.
func (r *Runtime) follow(b *box) {
	code := unknownExit
	if b.pidfd != nil {
		c, err := waitPID(b.pidfd, b.Status.PID, b.StartTime)
		r.cfg.Children.Remove(b.Status.PID)
		if err != nil {
			return // closed: the next Runtime sees to it
		}
		code = c
	}
	oom := r.oomKills(b.Status.ID) > 0
	b.out.drain(lastOutput)
	err := r.change(b, func(s *container.Status) {
		s.Phase, s.ExitCode, s.OOM, s.Finished = container.Exited, code, oom, r.cfg.Now()
	})
	if err != nil && !errors.Is(err, holdfast.ErrUnavailable) {
		// The exit is known to this process even if the disk is full.
		r.cfg.Log.Error("record the end of a container", "container", b.Status.ID, "code", code, "err", err)
		r.mu.Lock()
		b.Status.Phase, b.Status.ExitCode, b.Status.OOM, b.Status.Finished = container.Exited, code, oom, r.cfg.Now()
		r.hub.Publish(b.Status)
		r.mu.Unlock()
	}
	close(b.ended)
}

// Signal implements container.Runtime.
func (r *Runtime) Signal(_ context.Context, id string, sig syscall.Signal) error {
	b, err := r.running(id)
	if err != nil {
		return err
	}
	if b.pidfd == nil {
		return holdfast.Errorf(holdfast.ErrNotFound, "container %s ended", id)
	}
	if err := sendSignal(b.pidfd, sig); err != nil {
		return fmt.Errorf("signal container %s: %w", id, err)
	}
	return nil
}

// Kill implements container.Runtime.
func (r *Runtime) Kill(_ context.Context, id string) error {
	if _, err := r.get(id); err != nil {
		return err
	}
	return r.killCgroup(id)
}

// Remove implements container.Runtime.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	r.mu.Lock()
	b := r.boxes[id]
	if b == nil || b.starting {
		r.mu.Unlock()
		return nil
	}
	if b.Status.Phase == container.Parked {
		delete(r.boxes, id) // nobody may start in it from now on
		r.mu.Unlock()
		return r.discard(ctx, b)
	}
	r.mu.Unlock()
	b.removing.Lock()
	defer b.removing.Unlock()
	r.mu.Lock()
	gone := r.boxes[id] != b
	r.mu.Unlock()
	if gone {
		return nil
	}
	if err := r.Kill(ctx, id); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	select {
	case <-b.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := r.discard(ctx, b); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	r.mu.Lock()
	delete(r.boxes, id)
	r.mu.Unlock()
	return nil
}

// Stats implements container.Runtime.
func (r *Runtime) Stats(_ context.Context, id string) (container.Stats, error) {
	if _, err := r.running(id); err != nil {
		return container.Stats{}, err
	}
	manager, err := r.cgroup(id)
	if err != nil {
		return container.Stats{}, err
	}
	stats, err := readStats(manager, r.cfg.Now())
	if errors.Is(err, os.ErrNotExist) {
		return container.Stats{}, holdfast.Errorf(holdfast.ErrNotFound, "container %s ended: %w", id, err)
	}
	stats.OOMKills = int64(r.oomKills(id))
	return stats, err
}

// Pause implements container.Runtime.
func (r *Runtime) Pause(_ context.Context, id string) error {
	return r.setPhase(id, container.Paused, cgroups.Frozen)
}

// Resume implements container.Runtime.
func (r *Runtime) Resume(_ context.Context, id string) error {
	return r.setPhase(id, container.Running, cgroups.Thawed)
}

func (r *Runtime) setPhase(id string, phase container.Phase, state cgroups.FreezerState) error {
	b, err := r.running(id)
	if err != nil {
		return err
	}
	if err := r.freeze(id, state); err != nil {
		return err
	}
	r.mu.Lock()
	same := b.Status.Phase == phase
	r.mu.Unlock()
	if same {
		return nil
	}
	return r.change(b, func(s *container.Status) {
		if s.Phase != container.Exited {
			s.Phase = phase
		}
	})
}
