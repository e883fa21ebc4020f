package agent

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// runPreStart runs the pre_start hooks as containers of their own, one after the other, with the service's volumes.
// A hook that is not per replica runs before the first replica of a release only.
func (t *task) runPreStart(ctx context.Context) error {
	for i, hook := range t.spec.Hooks.PreStart {
		if !hook.PerReplica && !t.agent.firstOfRelease(t.replica) {
			continue
		}
		if err := t.runInit(ctx, fmt.Sprintf("%s%s%d", t.replica.ID, hookMark, i), hook); err != nil {
			return fmt.Errorf("%d (%s): %w", i+1, hook.Command[0], err)
		}
	}
	return nil
}

// runInit runs one container to its end in a sandbox of its own that shares nothing but volumes and network table.
func (t *task) runInit(ctx context.Context, id string, hook holdfast.Hook) error {
	replica := t.replica
	replica.ID = id
	init := newTask(t.agent, replica, t.app, hookSpec(t.spec, hook))
	defer t.agent.register(init)()
	defer init.cleanup()
	if err := init.runSteps(ctx, prepareSteps...); err != nil {
		return err
	}
	if err := init.runSteps(ctx, startSteps...); err != nil {
		return err
	}
	select {
	case found := <-init.exited:
		if found.ExitCode != 0 {
			return fmt.Errorf("%s", exitReason(found))
		}
		return nil
	case <-ctx.Done():
		init.killContainer()
		return context.Cause(ctx)
	}
}

func hookSpec(spec holdfast.Spec, hook holdfast.Hook) holdfast.Spec {
	if hook.Image != "" {
		spec.Image = hook.Image
	}
	spec.Process.Entrypoint, spec.Process.Command = []string{}, hook.Command
	spec.Process.Env = environment(spec.Process.Env, hook.Env)
	if hook.User != "" {
		spec.Process.User = hook.User
	}
	if hook.WorkingDir != "" {
		spec.Process.WorkingDir = hook.WorkingDir
	}
	spec.Security.Privileged = spec.Security.Privileged || hook.Privileged
	spec.Hooks = holdfast.Hooks{}
	spec.Process.Stdin, spec.Process.TTY = false, false
	return spec
}

// runPostStart runs the post_start hooks inside the started container; one that fails fails the replica.
func (t *task) runPostStart(ctx context.Context) error {
	for i, hook := range t.spec.Hooks.PostStart {
		if err := t.runHook(ctx, hook); err != nil {
			return fmt.Errorf("%d (%s): %w", i+1, hook.Command[0], err)
		}
	}
	return nil
}

// runPreStop runs the pre_stop hooks within the stop grace; the container is stopped whatever they say.
func (t *task) runPreStop(ctx context.Context) {
	if len(t.spec.Hooks.PreStop) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, t.spec.Process.StopGrace.Std())
	defer cancel()
	for i, hook := range t.spec.Hooks.PreStop {
		if err := t.runHook(ctx, hook); err != nil {
			t.log.Warn("run pre_stop hook", "hook", i+1, "err", err)
		}
	}
}

func (t *task) runHook(ctx context.Context, hook holdfast.Hook) error {
	code, output, err := runIn(ctx, t.agent.runtime, t.replica.ID, container.ExecSpec{
		Args: slices.Clone(hook.Command), Env: hook.Env, User: hook.User, WorkingDir: hook.WorkingDir, Privileged: hook.Privileged,
	})
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("exited with code %d%s", code, lastLine(output))
	}
	return nil
}
