package cli

import (
	"cmp"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

func (a *app) routeCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "route", Short: "Routes of the gateway", Args: cobra.ArbitraryArgs, RunE: unknownCommand}
	cmd.AddCommand(
		&cobra.Command{
			Use: "ls", Aliases: []string{"list"}, Short: "List the routes", Args: args(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error {
				routes, err := a.api().Routes(cmd.Context())
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(routes)
				}
				return routeTable(routes).write(a.Stdout)
			},
		},
		&cobra.Command{
			Use: "test URL", Short: "Say where the gateway sends a request for URL, and why", Args: args(1, 1),
			Example: "  holdfast route test http://shop.example.com/api/orders\n" +
				"  holdfast route test /api/orders        for any host",
			RunE: func(cmd *cobra.Command, given []string) error {
				host, path, err := parseTarget(given[0])
				if err != nil {
					return err
				}
				m, err := a.api().MatchRoute(cmd.Context(), host, path)
				if err != nil {
					return err
				}
				return a.printMatch(given[0], m)
			},
		},
	)
	return cmd
}

func routeTable(routes []api.RouteView) *table {
	t := newTable("HOST", "PATH", "APP", "SERVICE", "PORT", "STRIP", "READY")
	for _, r := range routes {
		t.row(cmp.Or(r.Route.Host, "*"), cmp.Or(r.Route.PathPrefix, "/"), r.App, r.Service,
			strconv.Itoa(int(r.Route.Port)), strconv.FormatBool(r.Route.Strip), strconv.Itoa(r.Ready))
	}
	return t
}

// parseTarget splits a URL, with or without scheme, or a path.
func parseTarget(text string) (host, path string, err error) {
	full := text
	switch {
	case strings.HasPrefix(text, "/"):
		full = "http://" + text
	case !strings.Contains(text, "://"):
		full = "http://" + text
	}
	u, err := url.Parse(full)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", "", usage("URL %q: want http://HOST/PATH, HOST/PATH or /PATH", text)
	}
	return u.Host, cmp.Or(u.EscapedPath(), "/"), nil
}

func (a *app) printMatch(target string, m api.RouteMatch) error {
	if a.json {
		return a.printJSON(m)
	}
	if len(m.Candidates) > 0 {
		t := newTable("ROUTE", "SERVICE", "WHY")
		for _, c := range m.Candidates {
			t.row(c.Route, c.Service, c.Why)
		}
		if err := t.write(a.Stdout); err != nil {
			return err
		}
	}
	if m.Route == "" {
		return holdfast.Errorf(holdfast.ErrNotFound, "no route takes %s: the gateway answers 404", target)
	}
	a.printf("\n%s goes to %s, which sees the path %s\n", target, m.Service, m.Forwarded)
	return nil
}
