package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/internal/load"
	"github.com/holdfast/holdfast/internal/netlab"
)

// stateless are the arcade's services that a client may ask at any replica.
var stateless = []string{"web", "site", "api"}

// arcade is examples/arcade, unmodified, with secrets of its own.
type arcade struct {
	app
	password string
}

// deployArcade brings examples/arcade up on n.
func deployArcade(t *testing.T, n *netlab.Node) arcade {
	t.Helper()
	a := arcade{app{n, t.TempDir()}, "it's a secret"}
	for name, secret := range map[string]string{"db_password": a.password, "jwt_key": "0123456789abcdef0123456789abcdef"} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.up("1")
	return a
}

// up deploys the arcade with a release of the stateless services that release tells apart.
func (a arcade) up(release string) {
	a.T.Helper()
	var override strings.Builder
	fmt.Fprintf(&override, "secrets: {db_password: {file: %s/db_password}, jwt_key: {file: %s/jwt_key}}\nservices:\n", a.dir, a.dir)
	for _, service := range stateless {
		fmt.Fprintf(&override, "  %s: {environment: {RELEASE: %q}, deploy: {update_config: {monitor: 1s}}}\n", service, release)
	}
	a.write(override.String())
	a.run("up", "-f", filepath.Join(repository(a.T), "examples/arcade/compose.yaml"), "-f", "compose.yaml")
}

// token asks the API for a token.
func (a arcade) token(player string) string {
	a.T.Helper()
	var got struct{ Token string }
	a.post("/api/token", "", map[string]any{"player": player}, &got)
	return got.Token
}

func (a arcade) post(path, token string, body, answer any) {
	a.T.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		a.T.Fatal(err)
	}
	req, err := http.NewRequestWithContext(a.T.Context(), http.MethodPost, "http://127.0.0.1"+path, bytes.NewReader(data))
	if err != nil {
		a.T.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := a.Client().Do(req)
	if err != nil {
		a.T.Fatalf("POST %s: %v", path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, answer)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		a.T.Fatalf("POST %s answered %d: %s, %v", path, resp.StatusCode, text, err)
	}
}

// underLoad runs work while nginx, Apache and the API are asked steadily, and fails the test if one request failed.
func (a arcade) underLoad(what string, work func()) {
	a.T.Helper()
	header := http.Header{"Authorization": {"Bearer " + a.token("ada")}}
	ctx, cancel := context.WithCancel(a.T.Context())
	paths := []string{"/arcade.js", "/site/", "/api/scores"}
	results := make(chan string, len(paths))
	for _, path := range paths {
		go func() {
			r := load.Run(ctx, 100, load.Get(a.Client(), "http://127.0.0.1"+path, header))
			if r.Failed > 0 {
				a.T.Errorf("%s: %d of %d requests to %s failed", what, r.Failed, r.Sent, path)
			}
			results <- fmt.Sprintf("%s: GET %s: %s", what, path, r)
		}()
	}
	work()
	a.waitSettled()
	cancel()
	for range paths {
		a.T.Log(<-results)
	}
}

// The real servers, each under steady load while its replicas change.
func TestArcadeServesWhileItChanges(t *testing.T) {
	a := deployArcade(t, started(t))
	for path, want := range map[string]string{"/": "<html", "/site/": "<html", "/api/healthz": `"ok"`} {
		if body := a.mustGet(path); !strings.Contains(body, want) {
			t.Errorf("GET %s answered %q, want %q in it", path, body, want)
		}
	}
	var total struct{ Points int }
	for want := 10; want <= 30; want += 10 {
		if a.post("/api/scores", a.token("ada"), map[string]any{"points": 10}, &total); total.Points != want {
			t.Fatalf("ada has %d points, want %d", total.Points, want)
		}
	}
	a.underLoad("rolling update", func() { a.up("2") })
	a.underLoad("rollback", func() {
		for _, service := range stateless {
			a.run("rollback", service, "-p", "arcade")
		}
	})
	for _, service := range stateless {
		for _, r := range a.waitReady(service, a.service(service).Want) {
			if r.Release != 1 {
				t.Errorf("after the rollback replica %s is of release %d", r.ID, r.Release)
			}
		}
	}
	a.underLoad("scale 2, 6, 2, 3", func() {
		for _, n := range []int{2, 6, 2, 3} {
			a.scale(n)
		}
	})
	a.underLoad("kill -9 of one of three", func() {
		for _, service := range stateless {
			victim := a.waitReady(service, 3)[1]
			a.Kill(victim.Status.PID)
			a.waitReplaced(victim, 3)
		}
	})
}

// scale gives each stateless service n replicas and waits until all have them.
func (a arcade) scale(n int) {
	a.T.Helper()
	args := []string{"scale", "-p", "arcade"}
	for _, service := range stateless {
		args = append(args, fmt.Sprintf("%s=%d", service, n))
	}
	a.run(args...)
	for _, service := range stateless {
		a.waitReady(service, n)
	}
}

// waitSettled waits until no replica is on its way up or down.
func (a app) waitSettled() {
	a.T.Helper()
	a.Eventually(60*time.Second, "all replicas are settled", func() error {
		for _, r := range a.replicas("", false) {
			if r.Desired != holdfast.Run || r.Status.State != holdfast.Running || !r.Status.Ready {
				return fmt.Errorf("%s is %s and to %s", r.ID, r.Status.State, r.Desired)
			}
		}
		return nil
	})
}

// waitReplaced waits until n replicas are ready and none of them is victim.
func (a app) waitReplaced(victim api.ReplicaView, n int) {
	a.T.Helper()
	a.Eventually(20*time.Second, victim.ID+" is replaced", func() error {
		ready := a.ready(victim.Service)
		if len(ready) != n || slices.ContainsFunc(ready, func(r api.ReplicaView) bool { return r.ID == victim.ID }) {
			return fmt.Errorf("%d are ready", len(ready))
		}
		return nil
	})
}
