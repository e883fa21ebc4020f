package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/container"
)

type execFlags struct {
	interactive, tty, noTTY, privileged bool
	user, workdir                       string
	env                                 []string
}

func (a *app) execCommand() *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:   "exec SERVICE|REPLICA COMMAND [ARG...]",
		Short: "Run a command in a replica",
		Long: "Runs a command beside a replica's own process and ends with its exit code. SERVICE stands for one of its ready\n" +
			"replicas, SERVICE.2 for the one in slot 2. On a terminal, input and a terminal are given to it by themselves.\n" +
			"Exit code 127: the replica has no such program; 126: it cannot be executed.",
		Example: "  holdfast exec web sh                           a shell in a replica of web\n" +
			"  holdfast exec -T db pg_dump -U arcade > dump    no terminal: bytes as they are\n" +
			"  holdfast exec -u nobody -w /srv -e A=1 web.2 env",
		Args:              args(2, -1),
		ValidArgsFunction: a.complete(1, a.replicaNames),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.exec(cmd.Context(), f, given[0], given[1:])
		},
	}
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "send standard input")
	fl.BoolVarP(&f.tty, "tty", "t", false, "give the command a terminal")
	fl.BoolVarP(&f.noTTY, "no-tty", "T", false, "give it none, even on a terminal")
	fl.BoolVar(&f.privileged, "privileged", false, "with all capabilities")
	fl.StringVarP(&f.user, "user", "u", "", "user to run it as: name, UID or UID:GID")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "directory to run it in")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "NAME=VALUE to set, or NAME to pass on; repeat for several")
	return cmd
}

func (a *app) exec(ctx context.Context, f execFlags, ref string, command []string) error {
	if f.tty && f.noTTY {
		return usage("--tty cannot go with --no-tty")
	}
	env, err := a.execEnv(f.env)
	if err != nil {
		return err
	}
	if !f.tty && !f.noTTY && !f.interactive && isTerminal(a.Stdin) && isTerminal(a.Stdout) {
		f.tty, f.interactive = true, true
	}
	if f.tty && f.interactive && !isTerminal(a.Stdin) {
		return usage("-it needs a terminal as standard input: leave out -t to send a file or pipe")
	}
	r, err := a.resolve(ctx, ref)
	if err != nil {
		return err
	}
	spec := container.ExecSpec{
		Args: command, Env: env, User: f.user, WorkingDir: f.workdir, TTY: f.tty, Privileged: f.privileged,
	}
	if f.tty {
		if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "TERM=") }) {
			spec.Env = append(spec.Env, "TERM=xterm") // which every image knows, unlike our own
		}
		spec.Rows, spec.Cols = terminalSize(a.Stdout)
	}
	p, err := a.api().Exec(ctx, r.ID, spec)
	switch {
	case errors.Is(err, api.ErrNoProgram):
		return &exitError{exitNoProgram, err.Error()}
	case errors.Is(err, api.ErrNotExecutable):
		return &exitError{exitNotExecutable, err.Error()}
	case err != nil:
		return err
	}
	s := session{stdin: f.interactive, tty: f.tty, closeStdin: true, passSignals: !f.tty}
	if !f.interactive {
		_ = p.Stdin().Close()
	}
	return s.run(ctx, a, p)
}

// execEnv checks NAME=VALUE, and completes NAME with its value here.
func (a *app) execEnv(pairs []string) ([]string, error) {
	var out []string
	for _, p := range pairs {
		name, _, given := strings.Cut(p, "=")
		if name == "" {
			return nil, usage("--env %q: want NAME=VALUE or NAME", p)
		}
		if !given {
			p += "=" + a.Getenv(name)
		}
		out = append(out, p)
	}
	return out, nil
}

func (a *app) attachCommand() *cobra.Command {
	var noStdin bool
	cmd := &cobra.Command{
		Use:   "attach SERVICE|REPLICA",
		Short: "Connect to a replica's own input and output",
		Long: "Connects this terminal to the standard streams of a replica's own process. ctrl-c leaves, or ctrl-p ctrl-q when the\n" +
			"process has a terminal and ctrl-c is for it; neither that nor the end of the input ends the process. Output written\n" +
			"before is not shown: see holdfast logs.",
		Args:              args(1, 1),
		ValidArgsFunction: a.complete(1, a.replicaNames),
		RunE: func(cmd *cobra.Command, given []string) error {
			return a.attach(cmd.Context(), given[0], noStdin)
		},
	}
	cmd.Flags().BoolVar(&noStdin, "no-stdin", false, "send no input")
	return cmd
}

func (a *app) attach(ctx context.Context, ref string, noStdin bool) error {
	r, err := a.resolve(ctx, ref)
	if err != nil {
		return err
	}
	releases, err := a.api().Releases(ctx, r.App, r.Service)
	if err != nil {
		return err
	}
	tty := false
	for _, rel := range releases {
		if rel.Number == r.Release {
			tty = rel.Spec.Process.TTY
		}
	}
	p, err := a.api().Attach(ctx, r.ID, tty)
	if err != nil {
		return err
	}
	s := session{stdin: !noStdin, tty: tty && isTerminal(a.Stdin), detachable: true}
	err = s.run(ctx, a, p)
	if errors.Is(err, errDetached) {
		if tty {
			a.note("") // the cursor is where the process left it
		}
		a.note("left %s running", r.ID)
		return nil
	}
	return err
}
