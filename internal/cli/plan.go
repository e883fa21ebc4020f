package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) planCommand() *cobra.Command {
	f := upFlags{dryRun: true}
	cmd := &cobra.Command{
		Use:   "plan [SERVICE...]",
		Short: "Say what up would change, and why, and change nothing",
		Example: "  holdfast plan\n" +
			"  holdfast plan --scale web=6",
		Args: args(0, -1),
		RunE: func(cmd *cobra.Command, services []string) error { return a.up(cmd.Context(), f, services) },
	}
	f.register(cmd)
	return cmd
}

func (a *app) configCommand() *cobra.Command {
	var services, images bool
	cmd := &cobra.Command{
		Use:   "config [SERVICE...]",
		Short: "Print the app as it was understood: all defaults, and the kind of each service and why",
		Long: "Loads the Compose files as up does, and prints the result. Needs no agent.\n" +
			"With --json it prints the deployment as up sends it; the contents of secrets are left out.",
		Args: args(0, -1),
		RunE: func(cmd *cobra.Command, names []string) error {
			p, err := a.project(cmd.Context(), names)
			if err != nil {
				return err
			}
			switch {
			case services || images:
				return a.printNames(p, services, images)
			case a.json:
				return a.printJSON(withoutSecrets(p))
			}
			return p.Explain(a.Stdout)
		},
	}
	cmd.Flags().BoolVar(&services, "services", false, "print the names of the services alone")
	cmd.Flags().BoolVar(&images, "images", false, "print the images alone")
	return cmd
}

func (a *app) printNames(p *Project, services, images bool) error {
	for _, s := range p.Deployment.Services {
		if services {
			a.printf("%s\n", s.Name)
		}
		if images {
			a.printf("%s\n", s.Image)
		}
	}
	return nil
}

// withoutSecrets is the deployment with the contents of secrets taken out.
func withoutSecrets(p *Project) any {
	d := p.Deployment
	d.Files = append(d.Files[:0:0], d.Files...)
	for i := range d.Files {
		if d.Files[i].Secret {
			d.Files[i].Data = nil
		}
	}
	return map[string]any{"deployment": d, "sources": p.Sources}
}
