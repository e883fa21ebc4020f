package api

import (
	"context"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast/holdfast"
)

// Info tells which agent answers.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return get[Info](ctx, c, call{method: http.MethodGet, path: at("info")})
}

// Apps lists all apps.
func (c *Client) Apps(ctx context.Context) ([]AppView, error) {
	return get[[]AppView](ctx, c, call{method: http.MethodGet, path: at("apps")})
}

// App returns one app. ErrNotFound.
func (c *Client) App(ctx context.Context, app string) (AppView, error) {
	return get[AppView](ctx, c, call{method: http.MethodGet, path: at("apps", app)})
}

// WatchApp yields the app as it is at revision after or later, and again after each change, until it is gone.
func (c *Client) WatchApp(ctx context.Context, app string, after int64) iter.Seq2[AppView, error] {
	q := values()
	if after > 0 {
		q.Set("after", strconv.FormatInt(after, 10))
	}
	return stream[AppView](ctx, c, call{method: http.MethodGet, path: at("apps", app, "watch"), query: q})
}

// Deploy makes the app what d says; with dryRun it only says what would change.
func (c *Client) Deploy(ctx context.Context, d holdfast.Deployment, dryRun bool) (Changes, error) {
	return get[Changes](ctx, c, call{method: http.MethodPut, path: at("apps", d.Name), query: values("dryRun", flag(dryRun)), json: d})
}

// Down takes the app down; it returns before the app is gone.
func (c *Client) Down(ctx context.Context, app string, dryRun bool) (Changes, error) {
	return get[Changes](ctx, c, call{method: http.MethodDelete, path: at("apps", app), query: values("dryRun", flag(dryRun))})
}

// Service returns one service. ErrNotFound.
func (c *Client) Service(ctx context.Context, app, service string) (ServiceView, error) {
	return get[ServiceView](ctx, c, call{method: http.MethodGet, path: at("apps", app, "services", service)})
}

// Releases lists a service's releases, newest first.
func (c *Client) Releases(ctx context.Context, app, service string) ([]holdfast.Release, error) {
	return get[[]holdfast.Release](ctx, c, call{method: http.MethodGet, path: at("apps", app, "services", service, "releases")})
}

// Scale sets how many replicas of a service run.
func (c *Client) Scale(ctx context.Context, app, service string, replicas int) (Changes, error) {
	return c.verb(ctx, app, service, "scale", map[string]int{"replicas": replicas}, false)
}

// Rollback goes back to a release; 0 is the last one whose rollout completed.
func (c *Client) Rollback(ctx context.Context, app, service string, release int, dryRun bool) (Changes, error) {
	return c.verb(ctx, app, service, "rollback", map[string]int{"release": release}, dryRun)
}

// Pause holds a rollout where it is.
func (c *Client) Pause(ctx context.Context, app, service string) (Changes, error) {
	return c.verb(ctx, app, service, "pause", nil, false)
}

// Resume lets a held rollout go on.
func (c *Client) Resume(ctx context.Context, app, service string) (Changes, error) {
	return c.verb(ctx, app, service, "resume", nil, false)
}

// Restart replaces all replicas of a service as an update does.
func (c *Client) Restart(ctx context.Context, app, service string) (Changes, error) {
	return c.verb(ctx, app, service, "restart", nil, false)
}

// RunJob starts a job once.
func (c *Client) RunJob(ctx context.Context, app, service string) (Changes, error) {
	return c.verb(ctx, app, service, "run", nil, false)
}

func (c *Client) verb(ctx context.Context, app, service, name string, body any, dryRun bool) (Changes, error) {
	return get[Changes](ctx, c, call{
		method: http.MethodPost, path: at("apps", app, "services", service, name),
		query: values("dryRun", flag(dryRun)), json: body,
	})
}

// LogsRequest chooses lines of an app's logs.
type LogsRequest struct {
	Services []string
	Replicas []string
	Since    time.Time
	Tail     int // of each replica; below 0 all
	Follow   bool
}

// Logs yields lines of an app's replicas in the order of time.
func (c *Client) Logs(ctx context.Context, app string, r LogsRequest) iter.Seq2[LogLine, error] {
	q := values("follow", flag(r.Follow), "tail", strconv.Itoa(r.Tail))
	if !r.Since.IsZero() {
		q.Set("since", r.Since.Format(time.RFC3339Nano))
	}
	q["service"], q["replica"] = r.Services, r.Replicas
	return stream[LogLine](ctx, c, call{method: http.MethodGet, path: at("apps", app, "logs"), query: q})
}

// EventsRequest chooses events.
type EventsRequest struct {
	App, Service string
	Tail         int // of those already there; below 0 all
	Follow       bool
}

// Events yields events, oldest first.
func (c *Client) Events(ctx context.Context, r EventsRequest) iter.Seq2[holdfast.Event, error] {
	q := values("app", r.App, "service", r.Service, "follow", flag(r.Follow), "tail", strconv.Itoa(r.Tail))
	return stream[holdfast.Event](ctx, c, call{method: http.MethodGet, path: at("events"), query: q})
}

// Stats yields rounds of readings of the replicas of an app, or of all for ""; rounds 0 goes on until ctx ends.
func (c *Client) Stats(ctx context.Context, app, service string, interval time.Duration, rounds int) iter.Seq2[Usage, error] {
	q := values("app", app, "service", service, "interval", interval.String(), "rounds", strconv.Itoa(rounds))
	return stream[Usage](ctx, c, call{method: http.MethodGet, path: at("stats"), query: q})
}

// Nodes lists the nodes.
func (c *Client) Nodes(ctx context.Context) ([]holdfast.Node, error) {
	return get[[]holdfast.Node](ctx, c, call{method: http.MethodGet, path: at("nodes")})
}

// Routes lists the gateway's routes.
func (c *Client) Routes(ctx context.Context) ([]RouteView, error) {
	return get[[]RouteView](ctx, c, call{method: http.MethodGet, path: at("routes")})
}

// MatchRoute says which route a request takes; one with an empty Route is taken by none.
func (c *Client) MatchRoute(ctx context.Context, r RouteRequest) (RouteMatch, error) {
	query := values("host", r.Host, "path", r.Path, "method", r.Method, "query", r.Query)
	for name, all := range r.Header {
		for _, value := range all {
			query.Add("header", name+": "+value)
		}
	}
	return get[RouteMatch](ctx, c, call{method: http.MethodGet, path: at("routes", "match"), query: query})
}
