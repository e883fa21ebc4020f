package daemon

import (
	"cmp"
	"context"
	"net/http"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/gateway/route"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/volume"
)

// router explains routes from the state alone: what the gateway's table is made of.
type router struct {
	state *store.Store
	node  string
}

func (r router) Match(req api.RouteRequest) api.RouteMatch {
	e := route.Build(r.state.Snapshot(), r.node).Explain(req.Host, req.Path, &route.Request{
		Method: cmp.Or(req.Method, http.MethodGet), Header: req.Header, RawQuery: req.Query,
	})
	match := api.RouteMatch{Host: e.Host, Path: e.Path, Route: e.Taken, Forwarded: e.Forwarded, Steps: e.Steps}
	if e.Route != nil {
		match.Service = e.Route.Backend.App + "/" + e.Route.Backend.Service
	}
	for _, c := range e.Candidates {
		match.Candidates = append(match.Candidates, api.RouteCandidate{Route: c.Route, Service: c.Service, Why: c.Why})
	}
	return match
}

// volumes is the node's volumes as the API shows them.
type volumes struct {
	store *volume.Store
	state *store.Store
	node  string
}

func (v volumes) List(ctx context.Context) ([]api.VolumeInfo, error) {
	all, err := v.store.List()
	if err != nil {
		return nil, err
	}
	owners := v.owners()
	views := make([]api.VolumeInfo, 0, len(all))
	for _, info := range all {
		view, err := v.view(ctx, info, owners)
		if err != nil {
			return nil, err
		}
		views = append(views, view)
	}
	return views, nil
}

func (v volumes) Get(ctx context.Context, name string) (api.VolumeInfo, error) {
	info, err := v.store.Inspect(name)
	if err != nil {
		return api.VolumeInfo{}, err
	}
	return v.view(ctx, info, v.owners())
}

func (v volumes) Remove(ctx context.Context, name string) error { return v.store.Remove(ctx, name) }

// Prune removes what no app names; volumes in use are never removed.
func (v volumes) Prune(ctx context.Context) (api.Pruned, error) {
	owners := v.owners()
	removed, bytes, err := v.store.Prune(ctx, func(i volume.Info) bool { return owners[i.Name] != "" })
	pruned := api.Pruned{FreedBytes: bytes}
	for _, info := range removed {
		pruned.Removed = append(pruned.Removed, info.Name)
	}
	return pruned, err
}

// owners returns the app of each volume that one names.
func (v volumes) owners() map[string]string {
	owners := map[string]string{}
	for name, app := range v.state.Snapshot().Apps.All("") {
		for _, vol := range app.Volumes {
			owners[vol.Name] = name
		}
	}
	return owners
}

func (v volumes) view(ctx context.Context, info volume.Info, owners map[string]string) (api.VolumeInfo, error) {
	size, err := v.store.Size(ctx, info.Name)
	return api.VolumeInfo{
		Name: info.Name, App: owners[info.Name], Driver: "local", Node: v.node, Path: info.Path, SizeBytes: size,
		Created: info.Created, UsedBy: info.Users, Labels: info.Labels,
	}, err
}
