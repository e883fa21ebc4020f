package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast/api"
)

// Main runs the command that args name and returns the program's exit code.
func Main(ctx context.Context, env Env, args []string) int {
	a := &app{Env: env}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if a.client != nil {
		a.client.Close()
	}
	if err != nil && err.Error() != "" {
		fmt.Fprintf(env.Stderr, "%s %s\n", a.errStyle().red("holdfast:"), a.advise(err))
	}
	return exitCode(err)
}

// app is one run of the program: its environment and the flags that all commands share.
type app struct {
	Env

	socket  string
	name    string // --app
	json    bool
	noColor bool
	load    LoadOptions

	client *api.Client
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "holdfast",
		Short:         "Run servers: a Compose file in, real servers out, nothing dropped",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          unknownCommand,
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true, Use: "no-help"})
	a.globalFlags(root)
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			cmd := c(a)
			cmd.GroupID = g.id
			if g.project {
				a.projectFlags(cmd)
			}
			root.AddCommand(cmd)
		}
	}
	root.AddCommand(a.gatewayCommand())
	if a.Supervisor != nil {
		root.AddCommand(a.supervisorCommand())
	}
	return root
}

// groups are all commands, in the order of the help text. Those with project have an app to work on.
var groups = []struct {
	id, title string
	project   bool
	commands  []func(*app) *cobra.Command
}{
	{"run", "Run an app:", true, []func(*app) *cobra.Command{
		(*app).upCommand, (*app).downCommand, (*app).planCommand, (*app).configCommand,
	}},
	{"look", "Look at it:", true, []func(*app) *cobra.Command{
		(*app).psCommand, (*app).logsCommand, (*app).eventsCommand, (*app).topCommand, (*app).historyCommand, (*app).inspectCommand,
	}},
	{"change", "Change it:", true, []func(*app) *cobra.Command{
		(*app).scaleCommand, (*app).rollbackCommand, (*app).pauseCommand, (*app).resumeCommand, (*app).restartCommand,
		(*app).killCommand, (*app).jobCommand,
	}},
	{"inside", "Go inside:", true, []func(*app) *cobra.Command{
		(*app).execCommand, (*app).attachCommand, (*app).cpCommand, (*app).portForwardCommand,
	}},
	{"node", "The node:", false, []func(*app) *cobra.Command{
		(*app).agentCommand, (*app).imageCommand, (*app).volumeCommand, (*app).routeCommand, (*app).trustCommand, (*app).versionCommand,
		(*app).completionCommand,
	}},
}

func (a *app) globalFlags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.socket, "socket", "", "agent's socket (env HOLDFAST_SOCKET; default "+defaultSocket+")")
	f.BoolVar(&a.json, "json", false, "print JSON, one document or one per line")
	f.BoolVar(&a.noColor, "no-color", false, "print no colours (env NO_COLOR)")
}

// projectFlags adds the flags that name an app to cmd and the commands below it. -f is --file where nothing else is -f.
func (a *app) projectFlags(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		a.projectFlags(sub)
	}
	if cmd.HasSubCommands() {
		return
	}
	f := cmd.Flags()
	short := "f"
	if f.ShorthandLookup(short) != nil {
		short = ""
	}
	f.StringVarP(&a.name, "app", "p", "", "app to work on (env HOLDFAST_APP; default: that of the Compose file here, or the only one)")
	f.StringArrayVarP(&a.load.Files, "file", short, nil, "Compose file; repeat to merge several (default: compose.yaml here or above)")
	f.StringVar(&a.load.ProjectDir, "project-directory", "", "directory that relative paths start from (default: that of the first file)")
	f.StringArrayVar(&a.load.EnvFiles, "env-file", nil, "file of variables, in place of .env")
	f.StringArrayVar(&a.load.Profiles, "profile", nil, "profile to activate (env COMPOSE_PROFILES)")
}

const defaultSocket = "/run/holdfast/api.sock"

func (a *app) socketPath() string {
	if a.socket != "" {
		return a.socket
	}
	if s := a.Getenv("HOLDFAST_SOCKET"); s != "" {
		return s
	}
	return defaultSocket
}

// api returns the client of the agent.
func (a *app) api() *api.Client {
	if a.client == nil {
		a.client = api.Dial(a.socketPath())
	}
	return a.client
}

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.Stdout, format, args...) }

// note tells the user something that is not the command's result.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.Stderr, format+"\n", args...) }

// style is how text for w is coloured.
func (a *app) style(w io.Writer) style {
	return style{on: !a.noColor && a.Getenv("NO_COLOR") == "" && a.Getenv("TERM") != "dumb" && isTerminal(w)}
}

func (a *app) errStyle() style { return a.style(a.Stderr) }
func (a *app) outStyle() style { return a.style(a.Stdout) }
