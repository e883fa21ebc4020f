package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

func (a *app) eventsCommand() *cobra.Command {
	var follow bool
	var tail string
	cmd := &cobra.Command{
		Use:   "events [SERVICE]",
		Short: "Print what happened, and why",
		Example: "  holdfast events -n 20        the last 20\n" +
			"  holdfast events -f web       those of one service, as they happen",
		Args:              args(0, 1),
		ValidArgsFunction: a.complete(1, a.serviceNames),
		RunE: func(cmd *cobra.Command, given []string) error {
			n, err := parseTail(tail)
			if err != nil {
				return usage("--tail %s: want a number of events, or all", tail)
			}
			name, err := a.maybeAppName(cmd.Context())
			if err != nil {
				return err
			}
			req := api.EventsRequest{App: name, Tail: n, Follow: follow}
			if len(given) > 0 {
				req.Service = given[0]
			}
			named := a.nodeNames(cmd.Context())
			for e, err := range a.api().Events(cmd.Context(), req) {
				if err != nil && follow {
					return leftWatching(err)
				}
				if err != nil {
					return err
				}
				if err := a.printEvent(e, named); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	cmd.Flags().StringVarP(&tail, "tail", "n", "all", "at most this many of the newest events")
	return cmd
}

func (a *app) printEvent(e holdfast.Event, named *strings.Replacer) error {
	if a.json {
		return a.printLine(e)
	}
	st := a.outStyle()
	_, err := fmt.Fprintf(a.Stdout, "%s  %s  %-24s  %s\n",
		st.dim(e.Time.Local().Format("2006-01-02 15:04:05.000")), eventColour(st, e.Type), named.Replace(subject(e)), named.Replace(shortDigests(e.Message)))
	return err
}

func eventColour(st style, t holdfast.EventType) string {
	text := fmt.Sprintf("%-20s", t)
	switch t {
	case holdfast.ReplicaFailed, holdfast.RolloutFailed, holdfast.RolloutRolledBack, holdfast.ServiceBackedOff:
		return st.red(text)
	case holdfast.ReplicaReady, holdfast.RolloutDone:
		return st.green(text)
	}
	return text
}

// subject is what an event is about, the narrowest name that it has.
func subject(e holdfast.Event) string {
	switch {
	case e.Replica != "":
		return e.Replica
	case e.Service != "":
		return e.App + "/" + e.Service
	case e.App != "":
		return e.App
	}
	return e.Node
}
