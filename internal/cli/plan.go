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
			"The contents of secrets and configs are left out.",
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
				return a.printText(p.JSON())
			}
			return a.printText(p.Text())
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

func (a *app) printText(text []byte, err error) error {
	if err != nil {
		return err
	}
	a.printf("%s", text)
	return nil
}
