package api

import (
	"context"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

func (s *Server) routeSystem() {
	const tag = "system"
	handle(s, operation("GET /v1/info", "info", tag, "What agent answers"),
		func(ctx context.Context, _ *struct{}) (Info, error) {
			info := s.cfg.Info()
			info.Problems = s.cfg.Problems(ctx)
			return info, nil
		})
	handle(s, operation("GET /v1/nodes", "list-nodes", tag, "List the nodes"), s.nodes)
	handleRaw(s, operation("GET /v1/metrics", "metrics", tag, "Metrics as Prometheus text"),
		s.response("Metrics", "text/plain", nil), s.metrics)
	handleStream(s, operation("GET /v1/events", "events", tag, "Events, oldest first; with follow, also those to come"), s.events)
	handleStream(s, operation("GET /v1/stats", "stats", tag, "Rounds of readings of replicas' use of resources"), s.stats)
	handle(s, operation("GET /v1/routes", "list-routes", tag, "List the gateway's routes"),
		func(context.Context, *struct{}) ([]RouteView, error) { return viewRoutes(s.cfg.State.Snapshot()), nil })
	handle(s, operation("GET /v1/routes/match", "match-route", tag, "Which route a request takes"), s.matchRoute)
	s.documentItself()
}

func (s *Server) nodes(context.Context, *struct{}) ([]holdfast.Node, error) {
	out := []holdfast.Node{}
	for _, n := range s.cfg.State.Snapshot().Nodes.All("") {
		out = append(out, *n)
	}
	return out, nil
}

func (s *Server) metrics(context.Context, *struct{}) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		s.cfg.Metrics.ServeHTTP(w, r)
	}}, nil
}

type matchInput struct {
	Host string `query:"host" doc:"Host header"`
	Path string `query:"path" required:"true" doc:"Path of the request, from /"`

	Method string   `query:"method" doc:"GET when left out"`
	Query  string   `query:"query" doc:"Query of the request, without the ?"`
	Header []string `query:"header,explode" doc:"Header of the request, as name: value"`
}

func (s *Server) matchRoute(_ context.Context, in *matchInput) (RouteMatch, error) {
	r := RouteRequest{Method: in.Method, Host: in.Host, Path: in.Path, Query: in.Query, Header: http.Header{}}
	for _, line := range in.Header {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return RouteMatch{}, holdfast.Errorf(holdfast.ErrInvalid, "header %q is not name: value", line)
		}
		r.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return s.cfg.Router.Match(r), nil
}

type eventsInput struct {
	App     string `query:"app" doc:"Only this app's"`
	Service string `query:"service" doc:"Only this service's"`
	Tail    int    `query:"tail" default:"-1" doc:"At most this many of the newest of those already there; below 0 all"`
	Follow  bool   `query:"follow" doc:"Go on with the events to come"`
}

// events writes the events there are, then each that the snapshots to come hold and the ones before did not: events
// of several nodes' clocks need not come in the order of their IDs.
func (s *Server) events(ctx context.Context, in *eventsInput, emit func(holdfast.Event) error) error {
	seen := map[string]bool{}
	snap := s.cfg.State.Snapshot()
	fresh := newEvents(snap, seen, in)
	if in.Tail >= 0 && len(fresh) > in.Tail {
		fresh = fresh[len(fresh)-in.Tail:]
	}
	for {
		for _, e := range fresh {
			if err := emit(*e); err != nil {
				return err
			}
		}
		if !in.Follow {
			return nil
		}
		next, err := s.cfg.State.Wait(ctx, snap.Revision)
		if err != nil {
			return err
		}
		snap = next
		fresh = newEvents(snap, seen, in)
	}
}

// newEvents returns the events that seen does not hold, and makes seen those of the snapshot.
func newEvents(s *store.Snapshot, seen map[string]bool, in *eventsInput) []*holdfast.Event {
	var out []*holdfast.Event
	now := make(map[string]bool, s.Events.Len())
	for id, e := range s.Events.All("") {
		now[id] = true
		if seen[id] || in.App != "" && e.App != in.App || in.Service != "" && e.Service != in.Service {
			continue
		}
		out = append(out, e)
	}
	clear(seen)
	for id := range now {
		seen[id] = true
	}
	return out
}

// documentItself puts the document's own route into the document; huma serves it.
func (s *Server) documentItself() {
	op := operation("GET /openapi.json", "openapi", "system", "This document")
	op.Responses = map[string]*huma.Response{"200": s.response("OpenAPI 3.1", "application/openapi+json", reflect.TypeFor[map[string]any]()).response}
	s.api.OpenAPI().AddOperation(&op)
}
