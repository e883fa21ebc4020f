package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

func (a *app) psCommand() *cobra.Command {
	var all, quiet bool
	cmd := &cobra.Command{
		Use:   "ps [SERVICE...]",
		Short: "List replicas and how they are",
		Example: "  holdfast ps              what runs of the app here, or of all apps\n" +
			"  holdfast ps -a web       also what ended, of service web alone",
		Args:              args(0, -1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, services []string) error {
			views, err := a.views(cmd.Context())
			if err != nil {
				return err
			}
			if views, err = onlyServices(views, services); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(views)
			}
			if quiet {
				return a.printIDs(views, all)
			}
			if err := psTable(a.outStyle(), a.Now(), a.nodeNames(cmd.Context()), views, all).write(a.Stdout); err != nil {
				return err
			}
			for _, line := range psNotes(views) {
				a.printf("%s\n", line)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "also replicas that ended")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the replicas' IDs alone")
	return cmd
}

// problemNotes tells what keeps clients from services, each problem once with all the services that have it.
func problemNotes(services []api.ServiceView) []string {
	var order []api.Problem
	names := map[api.Problem][]string{}
	for _, s := range services {
		for _, p := range s.Problems {
			p.App, p.Service = "", ""
			if len(names[p]) == 0 {
				order = append(order, p)
			}
			names[p] = append(names[p], s.Name)
		}
	}
	var out []string
	for _, p := range order {
		line := strings.Join(names[p], ", ") + ": " + p.What
		if p.Advice != "" {
			line += "\n  " + p.Advice
		}
		out = append(out, line)
	}
	return out
}

// psNotes tells of services and rollouts that need a look.
func psNotes(views []api.AppView) []string {
	var out []string
	for _, v := range views {
		out = append(out, problemNotes(v.Services)...)
		for _, s := range v.Services {
			switch {
			case s.Paused:
				out = append(out, fmt.Sprintf("%s: the rollout of release %d is paused (holdfast resume %s)", s.Name, s.Rollout.To, s.Name))
			case s.Rollout.Phase == holdfast.RolledBack || s.Rollout.Phase == holdfast.Halted || s.Rollout.Phase == holdfast.RollingBack:
				out = append(out, fmt.Sprintf("%s: %s: %s", s.Name, s.Rollout.Phase, s.Rollout.Reason))
			}
		}
	}
	if len(out) > 0 {
		out = append([]string{""}, out...)
	}
	return out
}

// views returns the app that is asked for, or all.
func (a *app) views(ctx context.Context) ([]api.AppView, error) {
	name, err := a.maybeAppName(ctx)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return a.api().Apps(ctx)
	}
	v, err := a.api().App(ctx, name)
	return []api.AppView{v}, err
}

// onlyServices drops other services; each name must be of one.
func onlyServices(views []api.AppView, names []string) ([]api.AppView, error) {
	if len(names) == 0 {
		return views, nil
	}
	var known []string
	wanted := map[string]bool{}
	for _, n := range names {
		wanted[n] = true
	}
	for i := range views {
		var keep []api.ServiceView
		for _, s := range views[i].Services {
			known = append(known, s.Name)
			if wanted[s.Name] {
				keep = append(keep, s)
			}
		}
		views[i].Services = keep
	}
	for _, n := range names {
		if err := checkName("service", n, known); err != nil {
			return nil, err
		}
	}
	return views, nil
}

// checkName makes an error with a hint of a name that is not one of known. It may have been meant for one of others too.
func checkName(noun, name string, known []string, others ...string) error {
	for _, k := range known {
		if k == name {
			return nil
		}
	}
	text := fmt.Sprintf("no %s %q", noun, name)
	if near := api.Nearest(name, append(others, known...)); near != "" {
		text += ": did you mean " + near + "?"
	} else if len(known) > 0 {
		text += ": there is " + strings.Join(known, ", ")
	}
	return holdfast.Errorf(holdfast.ErrNotFound, "%s", text)
}

func (a *app) printIDs(views []api.AppView, all bool) error {
	for _, v := range views {
		for _, s := range v.Services {
			for _, r := range s.Replicas {
				if all || !r.Status.State.Ended() {
					a.printf("%s\n", r.ID)
				}
			}
		}
	}
	return nil
}

// psTable lists replicas, and services that have none. With several apps the app is a column.
func psTable(st style, now time.Time, named *strings.Replacer, views []api.AppView, all bool) *table {
	head := []string{"SERVICE", "SLOT", "REPLICA", "RELEASE", "STATE", "READY", "AGE", "REASON", "NODE", "PORTS"}
	if len(views) > 1 {
		head = append([]string{"APP"}, head...)
	}
	t := newTable(head...)
	for _, v := range views {
		for _, s := range v.Services {
			for _, cells := range psRows(st, now, named, &s, all) {
				if len(views) > 1 {
					cells = append([]string{v.Name}, cells...)
				}
				t.row(cells...)
			}
		}
	}
	return t
}

func psRows(st style, now time.Time, named *strings.Replacer, s *api.ServiceView, all bool) [][]string {
	var rows [][]string
	for _, r := range s.Replicas {
		if !all && r.Status.State.Ended() {
			continue
		}
		rows = append(rows, []string{
			s.Name, strconv.Itoa(r.Slot), r.ID, strconv.Itoa(r.Release), paintState(st, stateOf(r)), ready(st, r),
			since(now, r.Created), reasonOf(r), named.Replace(r.Node), portsOf(s.Ports),
		})
	}
	if len(rows) == 0 {
		rows = append(rows, []string{s.Name, "", "", strconv.Itoa(s.Release), paintState(st, serviceState(now, s)), "", "", serviceReason(now, s), "", portsOf(s.Ports)})
	}
	return rows
}

// stateOf is a replica's state in a word; "waiting" until its node knows of it.
func stateOf(r api.ReplicaView) string {
	if r.Status.State == "" {
		return "waiting"
	}
	return string(r.Status.State)
}

// serviceState says why a service has no replicas.
func serviceState(now time.Time, s *api.ServiceView) string {
	switch {
	case s.Removing:
		return "removing"
	case s.Backoff.Until.After(now):
		return "backing-off"
	case s.Mode == holdfast.Job:
		return "idle"
	case s.Want == 0:
		return "scaled-to-0"
	}
	return "waiting"
}

func serviceReason(now time.Time, s *api.ServiceView) string {
	if s.Backoff.Until.After(now) {
		return fmt.Sprintf("next try in %s: %s", age(s.Backoff.Until.Sub(now)), s.Backoff.Reason)
	}
	return s.Rollout.Reason
}

func paintState(st style, state string) string {
	switch holdfast.State(state) {
	case holdfast.Running:
		return st.green(state)
	case holdfast.Failed, "backing-off":
		return st.red(state)
	case holdfast.Stopped, "idle", "scaled-to-0":
		return st.dim(state)
	}
	return st.yellow(state)
}

func ready(st style, r api.ReplicaView) string {
	if r.Status.Ready {
		return st.green("yes")
	}
	return "no"
}

// reasonOf is why a replica is as it is: what its node says, or why it is to stop.
func reasonOf(r api.ReplicaView) string {
	switch {
	case r.Status.Reason != "":
		return r.Status.Reason
	case r.InFlight > 0:
		return plural(r.InFlight, "request") + " in flight"
	case r.Desired == holdfast.Stop:
		return r.StopWhy
	case r.Status.State == holdfast.Failed:
		return fmt.Sprintf("exit code %d", r.Status.ExitCode)
	}
	return ""
}

// portsOf lists published ports: "8080->80/tcp".
func portsOf(ports []holdfast.Port) string {
	var out []string
	for _, p := range ports {
		text := fmt.Sprintf("%d->%d/%s", p.Published, p.Target, p.Protocol)
		if p.HostIP != "" {
			text = p.HostIP + ":" + text
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}
