// Package e2e tests what a user would see: the real binary, real containers and real servers, on netlab's pretend
// machines.
package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/internal/load"
	"github.com/holdfast/holdfast/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// repository is the root of the module.
func repository(t netlab.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// serverApp is a Compose file of one service, web, of the test server.
func serverApp(t netlab.TB, replicas int, env, more string) string {
	t.Helper()
	return fmt.Sprintf(`name: shop
services:
  web:
    x-holdfast:
      go: {dir: %q, package: ./internal/e2e/server}
      route: {path: /, port: 8080}
      health:
        readiness: {http: {port: 8080, path: /healthz}, interval: 500ms}
        liveness: {http: {port: 8080, path: /healthz}, interval: 500ms, timeout: 1s, retries: 3, start_period: 2s}
    environment: [%s]
    stop_grace_period: 5s
    deploy:
      replicas: %d
      update_config: {monitor: 1s, parallelism: 1}
%s`, repository(t), env, replicas, more)
}

// app is a deployed app on a node.
type app struct {
	*netlab.Node
	dir string
}

// deploy writes the Compose file and brings it up.
func deploy(t netlab.TB, n *netlab.Node, compose string) app {
	t.Helper()
	a := app{n, t.TempDir()}
	a.write(compose)
	a.Holdfast(a.dir, "up")
	return a
}

func (a app) write(compose string) {
	a.T.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, "compose.yaml"), []byte(compose), 0o600); err != nil {
		a.T.Fatal(err)
	}
}

// run runs a command of the CLI in the app's directory.
func (a app) run(args ...string) string {
	a.T.Helper()
	return a.Holdfast(a.dir, args...)
}

// get asks the node for a path, or for ":<port>/<path>", and returns the body of a 200.
func (a app) get(path string) (string, error) {
	client := a.Client()
	defer client.CloseIdleConnections() // a replica behind a relay of bytes drains until its connections are closed
	resp, err := client.Get("http://127.0.0.1" + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answered %d: %s", resp.StatusCode, body)
	}
	return string(body), nil
}

func (a app) mustGet(path string) string {
	a.T.Helper()
	body, err := a.get(path)
	if err != nil {
		a.T.Fatalf("GET %s: %v", path, err)
	}
	return body
}

// underLoad runs work while requests come at the given rate, and fails the test if one of them failed.
func (a app) underLoad(rate float64, path string, work func()) *load.Result {
	a.T.Helper()
	ctx, cancel := context.WithCancel(a.T.Context())
	done := make(chan *load.Result)
	client := a.Client()
	if strings.HasPrefix(path, ":") { // relayed as bytes: a connection stays with its replica until it is closed
		client.Transport.(*http.Transport).DisableKeepAlives = true
	}
	go func() { done <- load.Run(ctx, rate, load.Get(client, "http://127.0.0.1"+path, nil)) }()
	work()
	a.waitSettled()
	cancel()
	r := <-done
	a.T.Logf("%s", r)
	if r.Failed > 0 {
		a.T.Errorf("%d of %d requests failed: %v", r.Failed, r.Sent, r.Failures)
	}
	return r
}

// ready returns the ready replicas of a service, by slot. It asks the API, not the CLI: it is polled.
func (a app) ready(service string) []api.ReplicaView {
	a.T.Helper()
	return slices.DeleteFunc(a.replicas(service, false), func(r api.ReplicaView) bool { return !r.Status.Ready })
}

// replicas returns the replicas of a service, by slot, also those that have ended if asked.
func (a app) replicas(service string, ended bool) []api.ReplicaView {
	a.T.Helper()
	client := api.Dial(a.Socket())
	defer client.Close()
	list, err := client.Replicas(a.T.Context(), "", service, ended)
	if err != nil {
		a.T.Fatalf("list replicas of %s: %v", service, err)
	}
	return list
}

// service returns a service; there is one app on the node.
func (a app) service(name string) api.ServiceView {
	a.T.Helper()
	client := api.Dial(a.Socket())
	defer client.Close()
	apps, err := client.Apps(a.T.Context())
	if err != nil {
		a.T.Fatalf("list apps: %v", err)
	}
	for _, found := range apps {
		for _, s := range found.Services {
			if s.Name == name {
				return s
			}
		}
	}
	a.T.Fatalf("no service %s", name)
	return api.ServiceView{}
}

func sameReplica(a, b api.ReplicaView) bool { return a.ID == b.ID && a.Status.PID == b.Status.PID }

func (a app) waitReady(service string, n int) []api.ReplicaView {
	a.T.Helper()
	var ready []api.ReplicaView
	a.Eventually(60*time.Second, fmt.Sprintf("%d ready replicas of %s", n, service), func() error {
		if ready = a.ready(service); len(ready) != n {
			return fmt.Errorf("%d are", len(ready))
		}
		return nil
	})
	return ready
}

// started returns a node with an agent.
func started(t *testing.T) *netlab.Node {
	t.Helper()
	n := netlab.New(t, "one")
	n.StartAgent()
	return n
}

func TestUpAnswersAndDownRemovesAll(t *testing.T) {
	a := deploy(t, started(t), serverApp(t, 2, `VERSION=one`, ""))
	if body := a.mustGet("/"); !strings.HasPrefix(body, "one web-") {
		t.Fatalf("GET / answered %q", body)
	}
	before := a.ready("web")
	a.run("up")
	if after := a.ready("web"); !slices.EqualFunc(before, after, sameReplica) {
		t.Errorf("a second up changed %v to %v", before, after)
	}
	if logs := a.run("logs", "web"); strings.Count(logs, "listening as one") != 2 {
		t.Errorf("logs are %q", logs)
	}
	a.run("down")
	if r := a.Try(a.dir, "ps"); r.Code != 3 {
		t.Errorf("after down ps exits with %d: %s%s", r.Code, r.Out, r.Err)
	}
}
