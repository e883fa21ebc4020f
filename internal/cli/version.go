package cli

import (
	"errors"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of the agent",
		Args:  args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			info, err := a.api().Info(cmd.Context())
			if err != nil && !errors.Is(err, holdfast.ErrUnavailable) {
				return err
			}
			return a.printVersion(info, err == nil)
		},
	}
}

func (a *app) printVersion(info api.Info, answered bool) error {
	if a.json {
		out := map[string]any{"client": a.Version, "go": runtime.Version()}
		if answered {
			out["agent"] = info
		}
		return a.printJSON(out)
	}
	a.printf("client  %s (%s)\n", a.Version, runtime.Version())
	if answered {
		a.printf("agent   %s (pid %d, up %s, node %s, %s)\n", info.Version, info.PID, since(a.Now(), info.Started), info.Node, a.socketPath())
		return nil
	}
	a.printf("agent   none answers on %s\n", a.socketPath())
	return nil
}
