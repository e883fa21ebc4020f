package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
)

func (a *app) inspectCommand() *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use:   "inspect NAME...",
		Short: "Print all that is known of an app, service, replica, node, image or volume, as JSON",
		Example: "  holdfast inspect web.1\n" +
			"  holdfast inspect --type image nginx:1.27",
		Args:              args(1, -1),
		ValidArgsFunction: a.complete(-1, a.allNames),
		RunE: func(cmd *cobra.Command, names []string) error {
			var out []any
			for _, n := range names {
				v, err := a.inspect(cmd.Context(), kind, n)
				if err != nil {
					return err
				}
				out = append(out, v)
			}
			return a.printJSON(out)
		},
	}
	cmd.Flags().StringVar(&kind, "type", "", "what NAME is, when several things have it: app, service, replica, node, image or volume")
	return cmd
}

func (a *app) allNames(ctx context.Context) []string {
	names := append(a.replicaNames(ctx), a.appNames(ctx)...)
	return append(append(names, a.imageNames(ctx)...), a.volumeNames(ctx)...)
}

// lookups are the kinds of thing that inspect knows, in the order that they are tried.
var lookups = []struct {
	kind string
	find func(*app, context.Context, string) (any, error)
}{
	{"service", (*app).findService},
	{"replica", func(a *app, ctx context.Context, name string) (any, error) { return a.resolve(ctx, name) }},
	{"app", func(a *app, ctx context.Context, name string) (any, error) { return a.api().App(ctx, name) }},
	{"node", (*app).findNode},
	{"volume", func(a *app, ctx context.Context, name string) (any, error) { return a.api().Volume(ctx, name) }},
	{"image", func(a *app, ctx context.Context, name string) (any, error) { return a.api().Image(ctx, name) }},
}

func (a *app) inspect(ctx context.Context, kind, name string) (any, error) {
	known := false
	for _, l := range lookups {
		if kind != "" && kind != l.kind {
			continue
		}
		known = true
		v, err := l.find(a, ctx, name)
		if err == nil || !errors.Is(err, holdfast.ErrNotFound) {
			return v, err
		}
		if kind != "" {
			return nil, err
		}
	}
	if !known {
		return nil, usage("--type %s: want app, service, replica, node, image or volume", kind)
	}
	return nil, checkName("app, service, replica, node, image or volume", name, a.allNames(ctx))
}

func (a *app) findService(ctx context.Context, name string) (any, error) {
	views, err := a.views(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		for _, s := range v.Services {
			if s.Name == name {
				return a.serviceWithSpec(ctx, v.Name, name)
			}
		}
	}
	return nil, holdfast.Errorf(holdfast.ErrNotFound, "no service %q", name)
}

// serviceWithSpec is a service with the whole of its wanted release.
func (a *app) serviceWithSpec(ctx context.Context, app, name string) (any, error) {
	s, err := a.api().Service(ctx, app, name)
	if err != nil {
		return nil, err
	}
	releases, err := a.api().Releases(ctx, app, name)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"service": s}
	for _, r := range releases {
		if r.Number == s.Release {
			out["release"] = r
		}
	}
	return out, nil
}

func (a *app) findNode(ctx context.Context, name string) (any, error) {
	nodes, err := a.api().Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.ID == name || n.Name == name {
			return n, nil
		}
	}
	return nil, holdfast.Errorf(holdfast.ErrNotFound, "no node %q", name)
}
