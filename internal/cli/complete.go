package cli

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast/api"
)

// completionTime bounds how long a shell waits for names.
const completionTime = 2 * time.Second

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// complete makes a completion of names; those given already are left out. Without an agent there are none.
func (a *app) complete(most int, names func(context.Context) []string) completion {
	return func(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(given) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completionTime)
		defer cancel()
		out := slices.DeleteFunc(names(ctx), func(n string) bool { return slices.Contains(given, n) })
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) completeServices(cmd *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
	return a.complete(-1, a.serviceNames)(cmd, given, prefix)
}

func (a *app) serviceNames(ctx context.Context) []string {
	var names []string
	for _, v := range a.viewsOrNone(ctx) {
		for _, s := range v.Services {
			names = append(names, s.Name)
		}
	}
	return names
}

// replicaNames are the forms that name a replica: service, service.slot, ID.
func (a *app) replicaNames(ctx context.Context) []string {
	names := a.serviceNames(ctx)
	for _, v := range a.viewsOrNone(ctx) {
		for _, s := range v.Services {
			for _, r := range s.Replicas {
				if !r.Status.State.Ended() {
					names = append(names, s.Name+"."+strconv.Itoa(r.Slot), r.ID)
				}
			}
		}
	}
	return names
}

func (a *app) appNames(ctx context.Context) []string {
	apps, err := a.api().Apps(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, v := range apps {
		names = append(names, v.Name)
	}
	return names
}

func (a *app) imageNames(ctx context.Context) []string {
	images, err := a.api().Images(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, i := range images {
		names = append(names, i.Name)
	}
	return names
}

func (a *app) volumeNames(ctx context.Context) []string {
	volumes, err := a.api().Volumes(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, v := range volumes {
		names = append(names, v.Name)
	}
	return names
}

func (a *app) viewsOrNone(ctx context.Context) []api.AppView {
	views, err := a.views(ctx)
	if err != nil {
		return nil
	}
	return views
}
