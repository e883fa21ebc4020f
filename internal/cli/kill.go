package cli

import (
	"context"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

func (a *app) killCommand() *cobra.Command {
	var name string
	var all bool
	cmd := &cobra.Command{
		Use:   "kill SERVICE|REPLICA...",
		Short: "Send a signal to a replica's first process; one that ends of it is replaced",
		Long: "Sends a signal, SIGKILL unless said otherwise, past the rollout and past draining. SERVICE stands for one of its\n" +
			"replicas, with --all for each of them.",
		Example: "  holdfast kill web            kill one replica of web; another takes over\n" +
			"  holdfast kill --all web      kill all of them at once\n" +
			"  holdfast kill -s HUP web.2   have one replica read its configuration again",
		Args:              args(1, -1),
		ValidArgsFunction: a.complete(-1, a.replicaNames),
		RunE: func(cmd *cobra.Command, refs []string) error {
			sig, err := parseSignal(name)
			if err != nil {
				return err
			}
			return a.kill(cmd.Context(), refs, sig, all)
		},
	}
	cmd.Flags().StringVarP(&name, "signal", "s", "KILL", "signal, by name or number")
	cmd.Flags().BoolVar(&all, "all", false, "all replicas of each service named")
	return cmd
}

// parseSignal reads "KILL", "SIGKILL", "kill" or "9".
func parseSignal(name string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n), nil
	}
	full := strings.ToUpper(name)
	if !strings.HasPrefix(full, "SIG") {
		full = "SIG" + full
	}
	if sig := unix.SignalNum(full); sig != 0 {
		return sig, nil
	}
	return 0, usage("--signal %s: no such signal; want a name like TERM or a number from 1 to 64", name)
}

func (a *app) kill(ctx context.Context, refs []string, sig syscall.Signal, all bool) error {
	var targets []api.ReplicaView
	for _, ref := range refs {
		found, err := a.targets(ctx, ref, all)
		if err != nil {
			return err
		}
		targets = append(targets, found...)
	}
	for _, r := range targets {
		if err := a.api().Signal(ctx, r.ID, sig); err != nil {
			return err
		}
		if !a.json {
			a.printf("sent %s to %s\n", unix.SignalName(sig), r.ID)
		}
	}
	if a.json {
		return a.printJSON(targets)
	}
	return nil
}

// targets are the replicas that ref stands for.
func (a *app) targets(ctx context.Context, ref string, all bool) ([]api.ReplicaView, error) {
	one, err := a.resolve(ctx, ref)
	if err != nil || !all {
		return []api.ReplicaView{one}, err
	}
	if one.Service != ref {
		return nil, usage("--all %s: give the name of a service; %s is one replica", ref, ref)
	}
	views, err := a.views(ctx)
	if err != nil {
		return nil, err
	}
	list := inService(views, ref)
	if len(list) == 0 {
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "service %s has no running replica", ref)
	}
	return list, nil
}
