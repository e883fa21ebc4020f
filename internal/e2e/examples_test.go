package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// examples say of each folder of examples/ what must be true once it is up. The arcade has tests of its own.
var examples = map[string]func(example){
	"configs": func(e example) {
		e.wantGet(":18007/files", "Welcome.", "name = you", "price = 5 $")
	},
	"debian": func(e example) {
		e.wantGet(":18004/", "nginx from a Debian package")
	},
	"depends-on": func(e example) {
		e.wantGet(":18009/peer", "database from")
		db, migrate, web := e.one("db"), e.one("migrate"), e.one("web")
		if db.Status.ReadyAt.After(migrate.Created) || migrate.Status.Finished.After(web.Created) || migrate.Status.ExitCode != 0 {
			e.T.Errorf("db ready %s, migrate created %s finished %s with %d, web created %s", db.Status.ReadyAt, migrate.Created,
				migrate.Status.Finished, migrate.Status.ExitCode, web.Created)
		}
	},
	"edge": func(e example) {
		e.wantGet("/old/page", "web from", "path /page") // after the redirect
		e.wantAnswer("/", map[string]string{"X-Canary": "1"}, 200, "canary from")
		e.wantAnswer("/admin", nil, 401, "name and password")
		e.wantAnswer("/admin", map[string]string{"Authorization": "Basic YW5uOmNvcnJlY3QtaG9yc2U="}, 200, "web from")
		e.Eventually(10*time.Second, "a client has asked too often", func() error {
			if text, err := e.get("/api"); err == nil || !strings.Contains(err.Error(), "answered 429") {
				return fmt.Errorf("%s, %v", text, err)
			}
			return nil
		})
	},
	"global": func(e example) { e.one("collector") },
	"go": func(e example) {
		e.wantGet(":18002/", "hello from")
		e.wantGet(":18003/", "built with flags from")
	},
	"healthcheck": func(e example) {
		e.wantGet(":18008/healthz", "ok")
		slow := e.one("slow").Status
		if took := slow.ReadyAt.Sub(slow.Started); took < 3*time.Second {
			e.T.Errorf("slow was said to be ready after %s", took)
		}
		if !e.one("classic").Status.Ready {
			e.T.Error("classic is not ready")
		}
	},
	"hello": func(e example) {
		e.waitReady("web", 3)
		hosts := map[string]bool{}
		e.Eventually(10*time.Second, "all three replicas answer", func() error {
			text, err := e.get(":18001/")
			hosts[text] = true
			if len(hosts) < 3 {
				return fmt.Errorf("%v, %v", hosts, err)
			}
			return nil
		})
		e.run("scale", "web=5")
		e.waitReady("web", 5)
	},
	"hooks": func(e example) {
		e.wantGet(":18013/files", "prepared", "started")
		e.run("restart", "web")
		e.wantGet(":18013/files", "stopping")
	},
	"jobs": func(e example) {
		if text := e.run("job", "run", "report"); !strings.Contains(text, "all is well") {
			e.T.Errorf("report printed %q", text)
		}
		e.run("job", "run", "ping")
	},
	"limits": func(e example) {
		e.wantGet(":18012/eat?mb=16", "ate 16 MB")
		first := e.one("web")
		e.get(":18012/eat?mb=128") //nolint:errcheck // it dies of it
		e.waitReplaced(first, 1)
		for _, r := range e.replicas("web", true) {
			if r.ID == first.ID && !r.Status.OOM {
				e.T.Errorf("the first ended as %+v", r.Status)
			}
		}
	},
	"networks": func(e example) {
		e.wantGet(":18011/peer", "heard: api-1 heard: data from")
		if r := e.Try(e.dir, "exec", "web", "/hello", "check", "http://db:8080/"); r.Code != 1 || !strings.Contains(r.Err, "no such host") {
			e.T.Errorf("web to db: exit %d: %s%s", r.Code, r.Out, r.Err)
		}
	},
	"ports": func(e example) {
		e.wantGet(":18015/", "hello from")
		e.wantGet(":18016/", "hello from")
		for _, p := range e.service("web").Ports {
			if p.AppProtocol == "http" {
				e.wantGet(fmt.Sprintf(":%d/", p.Published), "hello from")
				return
			}
		}
		e.T.Error("no port was chosen")
	},
	"profiles": func(e example) {
		e.wantGet(":18018/", "hello from")
		if len(e.replicas("debug", true)) > 0 {
			e.T.Error("debug runs without its profile")
		}
		e.run("up", "--profile", "debug")
		e.wantGet(":18019/peer", "hello from web-1")
	},
	"restart": func(e example) {
		first := e.one("web")
		e.get(":18017/crash") //nolint:errcheck // it dies of it
		e.waitReplaced(first, 1)
		e.Eventually(20*time.Second, "broken is given up after three attempts", func() error {
			if n := len(e.replicas("broken", false)); n > 0 || e.service("broken").Backoff.Failures < 3 {
				return fmt.Errorf("%d replicas, %+v", n, e.service("broken").Backoff)
			}
			return nil
		})
		if once := e.one("once").Status; once.State != holdfast.Stopped || once.ExitCode != 0 {
			e.T.Errorf("once ended as %+v", once)
		}
	},
	"reuse": func(e example) {
		e.wantGet(":18021/", "based from")
		e.wantGet(":18021/peer", "backend from")
		e.wantGet(":18022/peer", "backend from")
	},
	"rollout": func(e example) {
		e.wantGet(":18014/", "version 1")
		e.T.(*testing.T).Setenv("VERSION", "2")
		e.underLoad(100, ":18014/", func() { e.run("up") })
		e.wantGet(":18014/", "version 2")
		if text := e.run("history", "web"); strings.Count(text, "\n") < 3 {
			e.T.Errorf("history is %q", text)
		}
	},
	"routes": func(e example) {
		e.wantGetOf("shop.example", "/", "web from", "path /")
		e.wantGetOf("shop.example", "/api/x", "api from", "path /x")
	},
	"secrets": func(e example) {
		e.wantGet(":18006/files", "/run/secrets/password: ", "/run/secrets/api-token: 3 bytes")
	},
	"security": func(e example) {
		e.wantGet(":18023/", "hello from")
		if r := e.Try(e.dir, "exec", "web", "/hello", "append", "/etc/x", "y"); r.Code != 1 || !strings.Contains(r.Err, "read-only file system") {
			e.T.Errorf("write to /etc: exit %d: %s%s", r.Code, r.Out, r.Err)
		}
	},
	"variables": func(e example) {
		e.wantGet(":18020/", "hi from", "version 3")
	},
	"volumes": func(e example) {
		e.wantGet(":18005/visits", "visit 1")
		e.run("restart", "counter")
		e.wantGet(":18005/visits", "visit 2")
	},
}

// exampleEnv are the variables that the first lines of the examples set.
var exampleEnv = map[string]string{"NAME": "you", "API_TOKEN": "abc", "GREETING": "hi"}

type example struct{ app }

// one returns the newest replica of a service, ended or not.
func (e example) one(service string) api.ReplicaView {
	e.T.Helper()
	all := e.replicas(service, true)
	if len(all) == 0 {
		e.T.Fatalf("%s has no replica", service)
	}
	return slices.MaxFunc(all, func(x, y api.ReplicaView) int { return x.Created.Compare(y.Created) })
}

// wantGet fails the test unless address, a port and path of the node, answers with all of the texts.
func (e example) wantGet(address string, texts ...string) {
	e.T.Helper()
	body := e.mustGet(address)
	for _, text := range texts {
		if !strings.Contains(body, text) {
			e.T.Errorf("GET %s answered %q, want %q in it", address, body, text)
		}
	}
}

// wantGetOf is wantGet of a host behind the gateway's port.
func (e example) wantGetOf(host, path string, texts ...string) {
	e.T.Helper()
	req, err := http.NewRequestWithContext(e.T.Context(), http.MethodGet, "http://127.0.0.1"+path, nil)
	if err != nil {
		e.T.Fatal(err)
	}
	req.Host = host
	resp, err := e.Client().Do(req)
	if err != nil {
		e.T.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		e.T.Fatal(err)
	}
	for _, text := range texts {
		if !strings.Contains(string(body), text) {
			e.T.Errorf("GET %s of %s answered %d %q, want %q in it", path, host, resp.StatusCode, body, text)
		}
	}
}

func TestEveryExampleDoesWhatItSays(t *testing.T) {
	dir := filepath.Join(repository(t), "examples")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := started(t)
	for name, value := range exampleEnv {
		t.Setenv(name, value)
	}
	for _, entry := range entries {
		if !entry.IsDir() || entry.Name() == "arcade" {
			continue
		}
		t.Run(entry.Name(), func(t *testing.T) {
			check := examples[entry.Name()]
			if check == nil {
				t.Fatal("say in examples what must be true of it")
			}
			on := *n
			on.T = t
			e := example{app{&on, filepath.Join(dir, entry.Name())}}
			defer e.wantNothingLeft()
			defer e.run("down", "--volumes")
			// What is broken on purpose may be seen to fail while up waits.
			if r := e.Try(e.dir, "up"); r.Code != 0 && (entry.Name() != "restart" || r.Code != 6) {
				t.Fatalf("up: exit %d\n%s%s", r.Code, r.Out, r.Err)
			}
			check(e)
		})
	}
}

// wantAnswer asks for a path with a header, and wants a status and a text.
func (e example) wantAnswer(path string, header map[string]string, status int, text string) {
	e.T.Helper()
	client := e.Client()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(e.T.Context(), http.MethodGet, "http://127.0.0.1"+path, nil)
	if err != nil {
		e.T.Fatal(err)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		e.T.Fatalf("GET %s: %v", path, err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != status || !strings.Contains(string(body), text) {
		e.T.Errorf("GET %s: %d %q, %v; want %d %q", path, resp.StatusCode, body, err, status, text)
	}
}

// wantNothingLeft fails the test unless the app has gone without a trace.
func (e example) wantNothingLeft() {
	e.T.Helper()
	client := api.Dial(e.Socket())
	defer client.Close()
	ctx, cancel := context.WithTimeout(e.T.Context(), 10*time.Second)
	defer cancel()
	apps, err := client.Apps(ctx)
	if err != nil || len(apps) > 0 {
		e.T.Errorf("after down there are %d apps, %v", len(apps), err)
	}
	volumes, err := client.Volumes(ctx)
	if err != nil || len(volumes) > 0 {
		e.T.Errorf("after down there are volumes %v, %v", volumes, err)
	}
}

// The first lines of each example say how to start it; the command must name a file that is there.
func TestExamplesSayHowToStartThem(t *testing.T) {
	command := regexp.MustCompile(`holdfast up -f (examples/\S+)`)
	for name := range examples {
		path := filepath.Join("examples", name, "compose.yaml")
		text, err := os.ReadFile(filepath.Join(repository(t), path))
		if err != nil {
			t.Fatal(err)
		}
		if found := command.FindSubmatch(text); found == nil || string(found[1]) != path {
			t.Errorf("%s does not say `holdfast up -f %s`", path, path)
		}
	}
}
