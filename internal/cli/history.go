package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
)

func (a *app) historyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "history [SERVICE]",
		Short: "List releases: what was deployed when, and how it went",
		Example: "  holdfast history          all services\n" +
			"  holdfast history web      one",
		Args:              args(0, 1),
		ValidArgsFunction: a.complete(1, a.serviceNames),
		RunE: func(cmd *cobra.Command, given []string) error {
			name, err := a.appName(cmd.Context())
			if err != nil {
				return err
			}
			releases, current, err := a.releases(cmd.Context(), name, given)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(releases)
			}
			return a.historyTable(releases, current).write(a.Stdout)
		},
	}
}

// releases returns the releases of the services named, or of all, and each service's present state.
func (a *app) releases(ctx context.Context, app string, services []string) ([]holdfast.Release, map[string]holdfast.Service, error) {
	v, err := a.api().App(ctx, app)
	if err != nil {
		return nil, nil, err
	}
	if len(services) == 0 {
		for _, s := range v.Services {
			services = append(services, s.Name)
		}
	}
	current := map[string]holdfast.Service{}
	for _, s := range v.Services {
		current[s.Name] = s.Service
	}
	out := []holdfast.Release{}
	for _, s := range services {
		list, err := a.api().Releases(ctx, app, s)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, list...)
	}
	return out, current, nil
}

func (a *app) historyTable(releases []holdfast.Release, current map[string]holdfast.Service) *table {
	st := a.outStyle()
	t := newTable("SERVICE", "RELEASE", "AGE", "OUTCOME", "NOTE", "IMAGE", "SPEC")
	for _, r := range releases {
		number, outcome := strconv.Itoa(r.Number), r.Outcome
		if s := current[r.Service]; s.Release == r.Number {
			number = st.bold(number + " *")
			if outcome == "" && s.Rollout.To == r.Number {
				outcome = s.Rollout.Phase
			}
		}
		t.row(r.Service, number, since(a.Now(), r.Created), paintOutcome(st, outcome), r.Note, shortImage(r.Spec.Image), shortDigest(r.Digest))
	}
	return t
}

func paintOutcome(st style, p holdfast.Phase) string {
	switch p {
	case holdfast.Done:
		return st.green(string(p))
	case holdfast.RolledBack, holdfast.Halted:
		return st.red(string(p))
	}
	return string(p)
}

func (a *app) rollbackCommand() *cobra.Command {
	var dryRun, detach bool
	cmd := &cobra.Command{
		Use:   "rollback [SERVICE] [RELEASE]",
		Short: "Go back to an earlier release, without dropping a request",
		Long: "Makes the wanted release of a service one that it had before: RELEASE, or the last one whose rollout completed.\n" +
			"Without SERVICE, every service of the app that has a release to go back to goes back.",
		Example: "  holdfast rollback web        to the release before\n" +
			"  holdfast rollback web 3      to release 3 (see holdfast history web)",
		Args:              args(0, 2),
		ValidArgsFunction: a.complete(1, a.serviceNames),
		RunE: func(cmd *cobra.Command, given []string) error {
			release := 0
			if len(given) == 2 {
				n, err := strconv.Atoi(given[1])
				if err != nil || n < 1 {
					return usage("release %q: want a number from 1, as holdfast history %s lists them", given[1], given[0])
				}
				release = n
			}
			return a.rollback(cmd.Context(), given, release, dryRun, detach)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change and why, and change nothing")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "return when the change is accepted, without waiting for the rollout")
	return cmd
}

func (a *app) rollback(ctx context.Context, given []string, release int, dryRun, detach bool) error {
	name, err := a.appName(ctx)
	if err != nil {
		return err
	}
	var services []string
	if len(given) > 0 {
		services = given[:1]
	} else if services, err = a.withHistory(ctx, name); err != nil {
		return err
	}
	return a.change(ctx, name, verbOptions{dryRun: dryRun, detach: detach}, func(ctx context.Context) ([]changed, error) {
		return eachService(services, func(s string) (changed, error) {
			c, err := a.api().Rollback(ctx, name, s, release, dryRun)
			return changed{s, c}, err
		})
	})
}

// withHistory lists the services that have a release to go back to.
func (a *app) withHistory(ctx context.Context, app string) ([]string, error) {
	v, err := a.api().App(ctx, app)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, s := range v.Services {
		if s.Last <= 1 || s.Mode == holdfast.Job {
			continue
		}
		releases, err := a.api().Releases(ctx, app, s.Name)
		if err != nil {
			return nil, err
		}
		if hasReleaseBefore(s.Service, releases) {
			out = append(out, s.Name)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("roll back app %s: %w", app, holdfast.Errorf(holdfast.ErrConflict, "no service has an earlier release"))
	}
	return out, nil
}

// hasReleaseBefore reports whether a rollback that names no release has somewhere to go.
func hasReleaseBefore(s holdfast.Service, releases []holdfast.Release) bool {
	if s.Stable != s.Release {
		return s.Stable != 0
	}
	return slices.ContainsFunc(releases, func(r holdfast.Release) bool {
		return r.Number < s.Release && r.Outcome == holdfast.Done
	})
}
