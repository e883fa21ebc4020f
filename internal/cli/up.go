package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// upFlags are the flags of up, and of plan, which is up without the doing.
type upFlags struct {
	detach        bool
	dryRun        bool
	build         bool
	pull          string
	forceRecreate bool
	removeOrphans bool
	scale         []string
	timeout       time.Duration
}

func (a *app) upCommand() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up [SERVICE...]",
		Short: "Make the app what the Compose file says, and wait until it is",
		Long: "Loads the Compose files, builds and pulls what images they need, and deploys. A service whose definition changed\n" +
			"gets a new release, which is rolled out without dropping a request and rolled back by itself when it is no good.\n" +
			"Waits until every service is as wanted, showing progress; exit code 6 when a rollout failed.\n\n" +
			"When no agent answers, one is started in the background on this machine.",
		Example: "  holdfast up                                    the compose.yaml here\n" +
			"  holdfast up -f base.yaml -f prod.yaml -d       two files merged; do not wait\n" +
			"  holdfast up --dry-run                          only say what would change, and why\n" +
			"  holdfast up --scale web=4 web                  one service and what it depends on, with 4 replicas",
		Args: args(0, -1),
		RunE: func(cmd *cobra.Command, services []string) error { return a.up(cmd.Context(), f, services) },
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.detach, "detach", "d", false, "return when the change is accepted, without waiting for the rollout")
	fl.BoolVar(&f.dryRun, "dry-run", false, "say what would change and why, and change nothing")
	fl.DurationVar(&f.timeout, "timeout", 0, "give up waiting after this long (default: wait until the rollout has an outcome)")
	f.register(cmd)
	return cmd
}

// register adds the flags that up and plan share.
func (f *upFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.build, "build", false, "build images anew even if their inputs did not change")
	fl.StringVar(&f.pull, "pull", "", "ask registries for images: always, missing or never (default: what the file says)")
	fl.BoolVar(&f.forceRecreate, "force-recreate", false, "make a new release of each service even if nothing changed")
	fl.BoolVar(&f.removeOrphans, "remove-orphans", false, "remove services that the file no longer names")
	fl.StringArrayVar(&f.scale, "scale", nil, "SERVICE=N: run N replicas of a service; repeat for several")
}

func (a *app) up(ctx context.Context, f upFlags, services []string) error {
	p, err := a.wanted(ctx, f, services)
	if err != nil {
		return err
	}
	if err := a.ensureAgent(ctx); err != nil {
		return err
	}
	before, err := a.before(ctx, p.Name)
	if err != nil {
		return err
	}
	screen := a.show(p.Name)
	changes, err := a.roll(ctx, screen, p, f, before)
	screen.close()
	switch {
	case err != nil:
		return err
	case f.dryRun:
		return a.printChanges(ctx, changes, "Nothing would change.")
	case f.detach:
		return a.printChanges(ctx, changes, "Nothing to change.")
	}
	return a.summary(ctx, p.Name)
}

// wanted loads the app and applies the flags to it.
func (a *app) wanted(ctx context.Context, f upFlags, services []string) (*Project, error) {
	if f.pull != "" && f.pull != "always" && f.pull != "missing" && f.pull != "never" {
		return nil, usage("--pull %s: want always, missing or never", f.pull)
	}
	p, err := a.project(ctx, services)
	if err != nil {
		return nil, err
	}
	d := &p.Deployment
	d.ForceRecreate, d.RemoveOrphans = f.forceRecreate, f.removeOrphans
	for i := range d.Services {
		if f.pull != "" {
			d.Services[i].PullPolicy = f.pull
		}
	}
	return p, applyScale(d, f.scale)
}

// applyScale sets the replicas of --scale.
func applyScale(d *holdfast.Deployment, pairs []string) error {
	for _, pair := range pairs {
		name, n, err := parseScale(pair)
		if err != nil {
			return usage("--scale %s", err)
		}
		var known []string
		found := false
		for i := range d.Services {
			known = append(known, d.Services[i].Name)
			if d.Services[i].Name == name {
				found = true
				d.Services[i].Replicas = n
			}
		}
		if !found {
			return fmt.Errorf("--scale %s: %w", pair, checkName("service", name, known))
		}
	}
	return nil
}

// parseScale reads "service=n".
func parseScale(pair string) (string, int, error) {
	name, text, ok := strings.Cut(pair, "=")
	if !ok || name == "" {
		return "", 0, fmt.Errorf("%q: want SERVICE=N, like web=3", pair)
	}
	const most = 10000
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return "", 0, fmt.Errorf("%q: %q is no number of replicas from 0 to %d", pair, text, most)
	}
	return name, n, nil
}

// before is the app as it was; the zero view when there is none.
func (a *app) before(ctx context.Context, name string) (api.AppView, error) {
	v, err := a.api().App(ctx, name)
	if errors.Is(err, holdfast.ErrNotFound) {
		return api.AppView{}, nil
	}
	return v, err
}

// roll gets the images, deploys and waits.
func (a *app) roll(ctx context.Context, screen *live, p *Project, f upFlags, before api.AppView) (api.Changes, error) {
	if err := a.images(ctx, screen, p, f); err != nil {
		return api.Changes{}, err
	}
	changes, err := a.api().Deploy(ctx, p.Deployment, f.dryRun)
	if err != nil || f.dryRun || f.detach {
		return changes, err
	}
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.timeout, errors.New("timeout"))
		defer cancel()
	}
	err = a.await(ctx, screen, p.Name, changes.Revision, before)
	if errors.Is(err, context.DeadlineExceeded) {
		err = &exitError{exitRollout, fmt.Sprintf("not done after %s (--timeout); the rollout goes on: holdfast ps, holdfast events -f", f.timeout)}
	}
	return changes, err
}

// await watches the app until the services that changed since before reached their releases, or failed to.
func (a *app) await(ctx context.Context, screen *live, name string, revision int64, before api.AppView) error {
	var g goal
	first := true
	screen.known(before)
	for v, err := range a.api().WatchApp(ctx, name, revision) {
		if errors.Is(err, context.Canceled) {
			return &exitError{exitInterrupted, "interrupted; what was asked for goes on: holdfast ps, holdfast events -f"}
		}
		if err != nil {
			return err
		}
		if first {
			g, first = newGoal(before, v), false
		}
		screen.update(func(b *board) { b.view, b.goal = &v, g })
		if done, failures := g.result(v); done {
			return rolloutError(failures)
		}
	}
	return &exitError{exitRollout, fmt.Sprintf("app %s was removed while it was waited for", name)}
}

// printChanges prints what a verb did or would do, with reasons.
func (a *app) printChanges(ctx context.Context, c api.Changes, none string) error {
	if a.json {
		return a.printJSON(c)
	}
	if len(c.Changes) == 0 {
		a.printf("%s\n", none)
		return nil
	}
	named := a.nodeNames(ctx)
	t := newTable("CHANGE", "REASON")
	for _, ch := range c.Changes {
		t.row(named.Replace(shortDigests(ch.What)), named.Replace(shortDigests(ch.Why)))
	}
	return t.write(a.Stdout)
}
