package cli

import (
	"cmp"
	"net/http"
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
		a.routeTestCommand(),
	)
	return cmd
}

func (a *app) routeTestCommand() *cobra.Command {
	var method string
	var header []string
	cmd := &cobra.Command{
		Use: "test URL", Short: "Say where the gateway sends a request for URL, and why", Args: args(1, 1),
		Example: "  holdfast route test http://shop.example.com/api/orders\n" +
			"  holdfast route test /api/orders        for any host\n" +
			"  holdfast route test -X POST -H 'X-Canary: 1' shop.example.com/api?v=2",
		RunE: func(cmd *cobra.Command, given []string) error {
			r, err := parseTarget(given[0])
			if err != nil {
				return err
			}
			r.Method, r.Header = strings.ToUpper(method), http.Header{}
			for _, line := range header {
				name, value, ok := strings.Cut(line, ":")
				if !ok {
					return usage("header %q: want 'Name: value'", line)
				}
				r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			}
			m, err := a.api().MatchRoute(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.printMatch(given[0], m)
		},
	}
	cmd.Flags().StringVarP(&method, "method", "X", "GET", "`METHOD` of the request")
	cmd.Flags().StringArrayVarP(&header, "header", "H", nil, "`HEADER` of the request, as 'Name: value'")
	return cmd
}

func routeTable(routes []api.RouteView) *table {
	t := newTable("HOST", "PATH", "APP", "SERVICE", "PORT", "STRIP", "READY")
	for _, r := range routes {
		t.row(cmp.Or(r.Route.Host, "*"), routePath(r.Route), r.App, r.Service,
			strconv.Itoa(int(r.Route.Port)), strconv.FormatBool(r.Route.Strip), strconv.Itoa(r.Ready))
	}
	return t
}

// routePath is a route's path, and a mark for each thing beside host and path that it asks for.
func routePath(r holdfast.Route) string {
	text := cmp.Or(r.PathPrefix, "/")
	switch {
	case r.Regexp != "":
		text = "~" + r.Regexp
	case r.Exact:
		text = "=" + text
	}
	if len(r.Methods) > 0 {
		text += " " + strings.Join(r.Methods, ",")
	}
	for _, c := range r.Headers {
		text += " header " + c.Name
	}
	for _, c := range r.Query {
		text += " query " + c.Name
	}
	return text
}

// parseTarget splits a URL, with or without scheme, or a path.
func parseTarget(text string) (api.RouteRequest, error) {
	full := text
	switch {
	case strings.HasPrefix(text, "/"):
		full = "http://" + text
	case !strings.Contains(text, "://"):
		full = "http://" + text
	}
	u, err := url.Parse(full)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return api.RouteRequest{}, usage("URL %q: want http://HOST/PATH, HOST/PATH or /PATH", text)
	}
	return api.RouteRequest{Host: u.Host, Path: cmp.Or(u.EscapedPath(), "/"), Query: u.RawQuery}, nil
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
	for _, step := range m.Steps {
		a.printf("on the way: %s\n", step)
	}
	return nil
}
