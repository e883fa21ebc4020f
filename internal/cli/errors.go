package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// Exit codes, as docs/cli.md lists them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2 // flags, arguments, files that are wrong
	exitNotFound    = 3
	exitConflict    = 4
	exitUnavailable = 5 // no agent, or something it needs is not there now
	exitRollout     = 6 // a rollout failed or was rolled back
	exitUnsupported = 7
	exitInterrupted = 130

	exitNotExecutable = 126 // exec: what a shell ends with for a file that cannot be run
	exitNoProgram     = 127 // exec: what a shell ends with for a program that is not there
)

// exitError ends the program with a code of its own; an empty text prints nothing.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

// leftWatching is the error of something that was watched until ctrl-c: that is how one leaves, so nothing is said.
func leftWatching(err error) error {
	if errors.Is(err, context.Canceled) {
		return &exitError{code: exitInterrupted}
	}
	return err
}

// usage is the error for wrong flags and arguments.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Sprintf(format, args...)}
}

// exitCode returns the code that err ends the program with.
func exitCode(err error) int {
	var exit *exitError
	if err == nil {
		return exitOK
	}
	if errors.As(err, &exit) {
		return exit.code
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	switch holdfast.KindOf(err) {
	case holdfast.ErrInvalid:
		return exitUsage
	case holdfast.ErrNotFound:
		return exitNotFound
	case holdfast.ErrConflict:
		return exitConflict
	case holdfast.ErrUnavailable:
		return exitUnavailable
	case holdfast.ErrUnsupported:
		return exitUnsupported
	}
	return exitFailed
}

// args checks the number of arguments, which are named as in the command's usage line.
func args(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		names := argNames(cmd.Use)
		if len(given) < least {
			return usage("%s needs %s: %s", cmd.CommandPath(), names[len(given)], cmd.UseLine())
		}
		if most >= 0 && len(given) > most {
			return usage("%s takes no argument %q: %s", cmd.CommandPath(), given[most], cmd.UseLine())
		}
		return nil
	}
}

// argNames returns the arguments of a usage line, without brackets.
func argNames(use string) []string {
	var names []string
	for _, word := range strings.Fields(use)[1:] {
		if word = strings.Trim(word, "[]."); word != "" && word != "--" {
			names = append(names, word)
		}
	}
	return names
}

// flagError explains a flag that pflag refused.
func flagError(cmd *cobra.Command, err error) error {
	var missing *pflag.NotExistError
	if !errors.As(err, &missing) {
		return usage("%s (see %s --help)", err, cmd.CommandPath())
	}
	name := missing.GetSpecifiedName()
	if missing.GetSpecifiedShortnames() != "" {
		return usage("%s has no flag -%s (see %s --help)", cmd.CommandPath(), name, cmd.CommandPath())
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := api.Nearest(name, known); near != "" {
		return usage("%s has no flag --%s: did you mean --%s?", cmd.CommandPath(), name, near)
	}
	return usage("%s has no flag --%s (see %s --help)", cmd.CommandPath(), name, cmd.CommandPath())
}

// unknownCommand is what a command that has subcommands, and does nothing itself, does with its arguments.
func unknownCommand(cmd *cobra.Command, given []string) error {
	if len(given) == 0 {
		return cmd.Help()
	}
	var known []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
			known = append(known, sub.Aliases...)
		}
	}
	slices.Sort(known)
	if near := api.Nearest(given[0], known); near != "" {
		return usage("%s has no command %q: did you mean %q?", cmd.CommandPath(), given[0], near)
	}
	return usage("%s has no command %q (see %s --help)", cmd.CommandPath(), given[0], cmd.CommandPath())
}
