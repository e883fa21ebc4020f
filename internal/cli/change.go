package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast/api"
)

// verbOptions are what the verbs on services have in common.
type verbOptions struct{ dryRun, detach bool }

// changed is what a verb changed of one service.
type changed struct {
	service string
	changes api.Changes
}

// change runs verbs and waits until the services are as wanted.
func (a *app) change(ctx context.Context, app string, opt verbOptions, do func(context.Context) ([]changed, error)) error {
	before, err := a.api().App(ctx, app)
	if err != nil {
		return err
	}
	done, err := do(ctx)
	if err != nil {
		return err
	}
	all := api.Changes{Changes: []api.Change{}}
	for _, c := range done {
		all.Changes = append(all.Changes, c.changes.Changes...)
		all.Revision = max(all.Revision, c.changes.Revision)
	}
	if opt.dryRun || len(all.Changes) == 0 {
		return a.printChanges(ctx, all, "Nothing to change.")
	}
	if !opt.detach {
		screen := a.show(app)
		err = a.await(ctx, screen, app, all.Revision, before)
		screen.close()
		if err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(all)
	}
	for _, c := range all.Changes {
		a.printf("%s\n", shortDigests(c.What))
	}
	return nil
}

// eachService runs do for each service; what was done before an error stays done, and the error says of which.
func eachService(services []string, do func(string) (changed, error)) ([]changed, error) {
	var out []changed
	for _, s := range services {
		c, err := do(s)
		if err != nil && len(out) > 0 {
			return out, fmt.Errorf("service %s, after %s: %w", s, plural(len(out), "other"), err)
		}
		if err != nil {
			return out, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (a *app) scaleCommand() *cobra.Command {
	var detach bool
	cmd := &cobra.Command{
		Use:   "scale SERVICE=N...",
		Short: "Set how many replicas of a service run",
		Example: "  holdfast scale web=6             six replicas of web\n" +
			"  holdfast scale web=2 api=4 -d    do not wait",
		Args:              args(1, -1),
		ValidArgsFunction: a.complete(-1, a.scaleNames),
		RunE: func(cmd *cobra.Command, pairs []string) error {
			wanted := map[string]int{}
			for _, p := range pairs {
				service, n, err := parseScale(p)
				if err != nil {
					return usage("%s", err)
				}
				wanted[service] = n
			}
			return a.scale(cmd.Context(), wanted, detach)
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "return when the change is accepted, without waiting")
	return cmd
}

func (a *app) scaleNames(ctx context.Context) []string {
	names := a.serviceNames(ctx)
	for i := range names {
		names[i] += "="
	}
	return names
}

func (a *app) scale(ctx context.Context, wanted map[string]int, detach bool) error {
	name, err := a.appName(ctx)
	if err != nil {
		return err
	}
	return a.change(ctx, name, verbOptions{detach: detach}, func(ctx context.Context) ([]changed, error) {
		return eachService(sortedKeys(wanted), func(s string) (changed, error) {
			c, err := a.api().Scale(ctx, name, s, wanted[s])
			return changed{s, c}, err
		})
	})
}

func (a *app) restartCommand() *cobra.Command {
	var detach bool
	cmd := &cobra.Command{
		Use:               "restart [SERVICE...]",
		Short:             "Replace replicas by new ones of the same release, as an update does",
		Example:           "  holdfast restart api",
		Args:              args(0, -1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, services []string) error {
			return a.verb(cmd.Context(), services, detach, a.api().Restart)
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "return when the change is accepted, without waiting")
	return cmd
}

func (a *app) pauseCommand() *cobra.Command {
	return a.simpleVerb("pause SERVICE...", "Hold the rollout of a service where it is", func() serviceCall { return a.api().Pause })
}

func (a *app) resumeCommand() *cobra.Command {
	return a.simpleVerb("resume SERVICE...", "Let the rollout of a paused service go on", func() serviceCall { return a.api().Resume })
}

// serviceCall is a verb of the API on one service.
type serviceCall func(ctx context.Context, app, service string) (api.Changes, error)

func (a *app) simpleVerb(use, short string, call func() serviceCall) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args(1, -1), ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, services []string) error {
			return a.verb(cmd.Context(), services, true, call())
		},
	}
}

// verb runs call on services, or on all of the app.
func (a *app) verb(ctx context.Context, services []string, detach bool, call serviceCall) error {
	name, err := a.appName(ctx)
	if err != nil {
		return err
	}
	if len(services) == 0 {
		v, err := a.api().App(ctx, name)
		if err != nil {
			return err
		}
		for _, s := range v.Services {
			services = append(services, s.Name)
		}
		if len(services) == 0 {
			return errors.New("the app has no services")
		}
	}
	return a.change(ctx, name, verbOptions{detach: detach}, func(ctx context.Context) ([]changed, error) {
		return eachService(services, func(s string) (changed, error) {
			c, err := call(ctx, name, s)
			return changed{s, c}, err
		})
	})
}
