package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast/api"
)

func (a *app) volumeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "volume", Short: "Volumes of this node", Args: cobra.ArbitraryArgs, RunE: unknownCommand}
	cmd.AddCommand(
		a.volumeListCommand(),
		&cobra.Command{
			Use: "inspect VOLUME...", Short: "Print all that is known of volumes, as JSON",
			Args: args(1, -1), ValidArgsFunction: a.complete(-1, a.volumeNames),
			RunE: func(cmd *cobra.Command, names []string) error {
				var out []api.VolumeInfo
				for _, n := range names {
					v, err := a.api().Volume(cmd.Context(), n)
					if err != nil {
						return err
					}
					out = append(out, v)
				}
				return a.printJSON(out)
			},
		},
		&cobra.Command{
			Use: "rm VOLUME...", Aliases: []string{"remove"}, Short: "Delete volumes and their data; never one in use",
			Args: args(1, -1), ValidArgsFunction: a.complete(-1, a.volumeNames),
			RunE: func(cmd *cobra.Command, names []string) error {
				return a.removeEach(names, func(n string) error { return a.api().RemoveVolume(cmd.Context(), n) })
			},
		},
		&cobra.Command{
			Use: "prune", Short: "Delete all volumes that no app names and no replica uses", Args: args(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error {
				p, err := a.api().PruneVolumes(cmd.Context())
				return a.printPruned(p, "volume", err)
			},
		},
	)
	return cmd
}

func (a *app) volumeListCommand() *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the volumes", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			volumes, err := a.api().Volumes(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(volumes)
			}
			named := a.nodeNames(cmd.Context())
			t := newTable("VOLUME", "APP", "SIZE", "AGE", "NODE", "USED BY")
			for _, v := range volumes {
				if quiet {
					a.printf("%s\n", v.Name)
				}
				t.row(v.Name, v.App, size(v.SizeBytes), since(a.Now(), v.Created), named.Replace(v.Node), strings.Join(v.UsedBy, ", "))
			}
			if quiet {
				return nil
			}
			return t.write(a.Stdout)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the names alone")
	return cmd
}
