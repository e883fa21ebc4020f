// Package apitest runs the API of an agent that has no node under it, for tests of the API and of the CLI: the store
// in memory, replicas that are local processes, images and volumes in maps. It is imported by tests only.
package apitest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
)

// Epoch is when the agents of tests were started.
var Epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Agent is an API on a socket of its own, with what it serves.
type Agent struct {
	Socket    string
	Client    *api.Client
	Store     *store.Store
	Processes *Processes
	Logs      *Logs
	Files     *Files
	Images    *Images
	Volumes   *Volumes
	World     *World

	mu       sync.Mutex
	problems []api.Problem
}

// SetProblems sets what keeps clients from the node's services.
func (a *Agent) SetProblems(list ...api.Problem) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.problems = list
}

func (a *Agent) currentProblems(context.Context) []api.Problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.problems
}

// Start serves until the test ends. The cluster has one node, n1.
func Start(t testing.TB) *Agent {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	st, err := store.Open(ctx, mem.New(), store.WithNow(func() time.Time { return Epoch }))
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{
		Socket: filepath.Join(t.TempDir(), "run", "api.sock"), Store: st,
		Processes: &Processes{}, Logs: newLogs(), Files: &Files{Root: t.TempDir()}, Images: &Images{}, Volumes: &Volumes{},
	}
	a.World = &World{store: st}
	a.Put(t, &holdfast.Node{ID: "n1", Name: "one", Gateway: true, CPUs: 2, MemBytes: 4 << 30, Started: Epoch, Seen: Epoch})
	a.Client = api.Dial(a.Socket)
	t.Cleanup(a.Client.Close)
	a.serve(ctx, t)
	return a
}

func (a *Agent) serve(ctx context.Context, t testing.TB) {
	t.Helper()
	srv, err := api.New(a.Config())
	if err != nil {
		t.Fatal(err)
	}
	l, err := api.Listen(a.Socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// Config is what the agent serves.
func (a *Agent) Config() api.Config {
	return api.Config{
		State: a.Store, Processes: a.Processes, Logs: a.Logs, Copier: a.Files, Images: a.Images, Volumes: a.Volumes,
		Router: Router{a.Store}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return Epoch },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "holdfast_test 1")
		}),
		Problems: a.currentProblems,
		Info: func() api.Info {
			return api.Info{
				Version: "1.2.3", PID: 42, Node: "n1", DataDir: "/data", RunDir: "/run/test", Started: Epoch,
				Gateway: []string{"127.0.0.1:80"},
			}
		},
	}
}

// Put writes nouns into the store.
func (a *Agent) Put(t testing.TB, nouns ...any) {
	t.Helper()
	err := a.Store.Update(context.Background(), func(_ *store.Snapshot, tx *store.Tx) error {
		for _, n := range nouns {
			if e, ok := n.(holdfast.Event); ok {
				tx.Event(e)
				continue
			}
			tx.Put(n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Router matches routes by prefix alone.
type Router struct{ store *store.Store }

// Match implements api.Router.
func (r Router) Match(req api.RouteRequest) api.RouteMatch {
	host, path := req.Host, req.Path
	m := api.RouteMatch{Host: host, Path: path, Candidates: []api.RouteCandidate{}}
	for _, rel := range r.store.Snapshot().Releases.All("") {
		for _, route := range rel.Spec.Routes {
			c := api.RouteCandidate{Route: route.Host + route.PathPrefix, Service: rel.App + "/" + rel.Service, Why: "another host"}
			if (route.Host == "" || route.Host == host) && strings.HasPrefix(path, route.PathPrefix) {
				c.Why = "taken"
				m.Route, m.Service, m.Forwarded = c.Route, c.Service, path
			}
			m.Candidates = append(m.Candidates, c)
		}
	}
	return m
}
