package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

func (a *app) downCommand() *cobra.Command {
	var volumes, detach, dryRun bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop and remove the app; its volumes stay unless asked",
		Example: "  holdfast down              stop the app here, draining what is in flight\n" +
			"  holdfast down --volumes    and delete its data",
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := a.appName(cmd.Context())
			if err != nil {
				return err
			}
			if volumes && detach {
				return usage("--volumes cannot go with --detach: volumes are deleted once the app is gone")
			}
			return a.down(cmd.Context(), name, volumes, detach, dryRun)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&volumes, "volumes", "v", false, "delete the app's named volumes and their data")
	f.BoolVarP(&detach, "detach", "d", false, "return when the change is accepted, without waiting for the end")
	f.BoolVar(&dryRun, "dry-run", false, "say what would change and why, and change nothing")
	return cmd
}

func (a *app) down(ctx context.Context, name string, volumes, detach, dryRun bool) error {
	before, err := a.api().App(ctx, name)
	if err != nil {
		return err
	}
	changes, err := a.api().Down(ctx, name, dryRun)
	if err != nil {
		return err
	}
	if dryRun || detach {
		return a.printChanges(ctx, changes, "Nothing to remove.")
	}
	screen := a.show(name)
	screen.known(before)
	err = a.awaitGone(ctx, screen, name)
	if err == nil && volumes {
		err = a.deleteVolumes(ctx, screen, before)
	}
	screen.close()
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(changes)
	}
	a.printf("%s is down\n", name)
	return nil
}

func (a *app) awaitGone(ctx context.Context, screen *live, name string) error {
	for v, err := range a.api().WatchApp(ctx, name, 0) {
		if errors.Is(err, holdfast.ErrNotFound) {
			return nil // gone before it could be watched
		}
		if err != nil {
			return err
		}
		screen.update(func(b *board) { b.view = &v })
	}
	screen.update(func(b *board) { b.view = nil })
	return nil
}

// deleteVolumes removes the volumes of an app that was taken down; those of others, and those never made, are left.
func (a *app) deleteVolumes(ctx context.Context, screen *live, before api.AppView) error {
	for _, key := range sortedKeys(before.Volumes) {
		v := before.Volumes[key]
		if v.External {
			continue
		}
		change := screen.start("delete volume " + v.Name)
		err := a.api().RemoveVolume(ctx, v.Name)
		if errors.Is(err, holdfast.ErrNotFound) {
			err = nil
		}
		screen.finish(change, "", err)
		if err != nil {
			return err
		}
	}
	return nil
}
