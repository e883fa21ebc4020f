package cli

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

func (a *app) jobCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "job", Short: "Jobs: services that run to their end", Args: cobra.ArbitraryArgs, RunE: unknownCommand}
	cmd.AddCommand(a.jobListCommand(), a.jobRunCommand())
	return cmd
}

func (a *app) jobListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the jobs, their schedules and last runs", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			views, err := a.views(cmd.Context())
			if err != nil {
				return err
			}
			jobs := []api.ServiceView{}
			t := newTable("APP", "JOB", "SCHEDULE", "LAST FIRE", "LAST RUN", "RESULT")
			for _, v := range views {
				for _, s := range v.Services {
					if s.Mode == holdfast.Job {
						jobs = append(jobs, s)
						run, result := lastRun(s)
						t.row(v.Name, s.Name, schedule(s.Triggers), since(a.Now(), lastFire(s)), run, result)
					}
				}
			}
			if a.json {
				return a.printJSON(jobs)
			}
			return t.write(a.Stdout)
		},
	}
}

func schedule(triggers []holdfast.Trigger) string {
	var out []string
	for _, t := range triggers {
		if t.Cron != "" {
			out = append(out, t.Cron)
		}
	}
	return strings.Join(out, ", ")
}

// lastFire is when the schedule last started the job; a deploy sets the clock without starting it.
func lastFire(s api.ServiceView) time.Time {
	if schedule(s.Triggers) == "" || s.Run.LastFire.Equal(s.Rollout.Started) {
		return time.Time{}
	}
	return s.Run.LastFire
}

// lastRun is a job's newest replica and how it ended.
func lastRun(s api.ServiceView) (id, result string) {
	var last api.ReplicaView
	for _, r := range s.Replicas {
		if last.ID == "" || r.Created.After(last.Created) {
			last = r
		}
	}
	if last.ID == "" {
		return "", ""
	}
	if last.Status.State.Ended() {
		return last.ID, "exit code " + strconv.Itoa(last.Status.ExitCode)
	}
	return last.ID, stateOf(last)
}

func (a *app) jobRunCommand() *cobra.Command {
	var detach bool
	cmd := &cobra.Command{
		Use: "run JOB", Short: "Start a job once, print its output and end with its exit code", Args: args(1, 1),
		ValidArgsFunction: a.complete(1, a.jobNames),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.jobRun(cmd.Context(), given[0], detach)
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "return when the run is accepted")
	return cmd
}

func (a *app) jobNames(ctx context.Context) []string {
	var names []string
	for _, v := range a.viewsOrNone(ctx) {
		for _, s := range v.Services {
			if s.Mode == holdfast.Job {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

func (a *app) jobRun(ctx context.Context, job string, detach bool) error {
	name, err := a.appName(ctx)
	if err != nil {
		return err
	}
	before, err := a.api().Service(ctx, name, job)
	if err != nil {
		return err
	}
	changes, err := a.api().RunJob(ctx, name, job)
	if err != nil {
		return err
	}
	if detach {
		return a.printChanges(ctx, changes, "Nothing to run.")
	}
	run, err := a.awaitRun(ctx, name, job, changes.Revision, before, func(r api.ReplicaView) bool { return true })
	if err != nil {
		return err
	}
	if err := a.printRun(ctx, name, run.ID); err != nil {
		return err
	}
	run, err = a.awaitRun(ctx, name, job, changes.Revision, before, func(r api.ReplicaView) bool {
		return r.ID == run.ID && r.Status.State.Ended()
	})
	if err != nil {
		return err
	}
	if run.Status.State == holdfast.Failed {
		return &exitError{max(run.Status.ExitCode, 1), "job " + job + " failed: " + reasonOf(run)}
	}
	return nil
}

// awaitRun waits for a replica that was not there before and that is as wanted.
func (a *app) awaitRun(ctx context.Context, app, job string, revision int64, before api.ServiceView, wanted func(api.ReplicaView) bool) (api.ReplicaView, error) {
	old := map[string]bool{}
	for _, r := range before.Replicas {
		old[r.ID] = true
	}
	for v, err := range a.api().WatchApp(ctx, app, revision) {
		if err != nil {
			return api.ReplicaView{}, err
		}
		for _, s := range v.Services {
			if s.Name != job {
				continue
			}
			for _, r := range s.Replicas {
				if !old[r.ID] && wanted(r) {
					return r, nil
				}
			}
		}
	}
	return api.ReplicaView{}, holdfast.Errorf(holdfast.ErrNotFound, "app %s was removed while job %s ran", app, job)
}

// printRun prints a run's output until it ends.
func (a *app) printRun(ctx context.Context, app, replica string) error {
	p := newLogPrinter(a, logFlags{noPrefix: true}, api.AppView{})
	for line, err := range a.api().Logs(ctx, app, api.LogsRequest{Replicas: []string{replica}, Tail: -1, Follow: true}) {
		if err != nil {
			return err
		}
		if err := p.print(line); err != nil {
			return err
		}
	}
	return p.flush()
}
