package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast/holdfast"
)

// unitName is the systemd unit.
const unitName = "holdfast.service"

func (a *app) agentInstallCommand() *cobra.Command {
	var f agentFlags
	var printOnly bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the agent as a systemd unit, start it, and have it start with the machine",
		Long: "Writes " + unitPath + " with the agent's flags that are given here, and enables and starts it.\n" +
			"An agent that runs in the background is stopped first; containers go on.",
		Example: "  holdfast agent install\n" +
			"  holdfast agent install --print --http :8080    only print the unit",
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			opt, err := f.options(a)
			if err != nil {
				return err
			}
			unit := unitText(self, givenFlags(cmd.Flags(), "print"), cmp.Or(opt.DataDir, "/var/lib/holdfast"))
			if printOnly {
				a.printf("%s", unit)
				return nil
			}
			return a.install(cmd.Context(), unit)
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().BoolVar(&printOnly, "print", false, "print the unit and do nothing")
	return cmd
}

// givenFlags returns the flags that were typed, as arguments.
func givenFlags(fl *pflag.FlagSet, not ...string) []string {
	var out []string
	fl.Visit(func(f *pflag.Flag) {
		for _, n := range not {
			if f.Name == n {
				return
			}
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range list.GetSlice() {
				out = append(out, "--"+f.Name+"="+v)
			}
			return
		}
		out = append(out, "--"+f.Name+"="+f.Value.String())
	})
	return out
}

// unitText is the unit. KillMode=process leaves containers, supervisor and gateway alone when the agent is stopped or
// upgraded; Delegate lets it make cgroups. The agent starts when the disk of its data is mounted, and however often it
// ended before: a node without an agent heals nothing. An agent that was told to stop where nothing runs waits for its
// helpers, so it is given time.
func unitText(program string, flags []string, dataDir string) string {
	words := []string{quoteUnit(program), "agent"}
	for _, f := range flags {
		words = append(words, quoteUnit(f))
	}
	return `[Unit]
Description=Holdfast agent: runs servers
After=network-online.target local-fs.target
Wants=network-online.target
RequiresMountsFor=` + quoteUnit(dataDir) + `
StartLimitIntervalSec=0

[Service]
ExecStart=` + strings.Join(words, " ") + `
Restart=always
RestartSec=1
KillMode=process
TimeoutStopSec=30
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
`
}

// quoteUnit quotes a word for ExecStart, where % and $ mean something.
func quoteUnit(word string) string {
	word = strings.NewReplacer("%", "%%", "$", "$$").Replace(word)
	if strings.ContainsAny(word, " \t\"'\\;") {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word) + `"`
	}
	return word
}

func (a *app) install(ctx context.Context, unit string) error {
	if _, err := exec.LookPath("systemctl"); err != nil {
		return holdfast.Errorf(holdfast.ErrUnsupported, "install needs systemd, and systemctl is not here: run holdfast agent under your own init system")
	}
	if err := os.WriteFile(a.unitPath(), []byte(unit), 0o644); err != nil {
		return fmt.Errorf("write unit: %w", err)
	}
	for _, args := range [][]string{{"daemon-reload"}, {"stop", unitName}} { // one that was installed before has old flags
		if err := systemctl(ctx, args...); err != nil {
			return err
		}
	}
	if err := a.stopAgent(ctx); err != nil && !errors.Is(err, holdfast.ErrUnavailable) {
		return err
	}
	if err := systemctl(ctx, "enable", "--now", unitName); err != nil {
		return err
	}
	a.printf("installed %s: it runs now, and starts with the machine\n", a.unitPath())
	return nil
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (a *app) agentUninstallCommand() *cobra.Command {
	return &cobra.Command{
		Use: "uninstall", Short: "Stop the agent's systemd unit and remove it; containers and data stay", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(a.unitPath()); errors.Is(err, fs.ErrNotExist) {
				return holdfast.Errorf(holdfast.ErrNotFound, "no unit is installed at %s", a.unitPath())
			}
			if err := systemctl(cmd.Context(), "disable", "--now", unitName); err != nil {
				return err
			}
			if err := os.Remove(a.unitPath()); err != nil {
				return fmt.Errorf("remove unit: %w", err)
			}
			if err := systemctl(cmd.Context(), "daemon-reload"); err != nil {
				return err
			}
			a.printf("removed %s; what ran goes on until holdfast down\n", a.unitPath())
			return nil
		},
	}
}
