package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api/apitest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the files in testdata with what the commands print now")

// rig is a program with an agent of its own.
type rig struct {
	t       *testing.T
	agent   *apitest.Agent
	env     Env
	vars    map[string]string
	project *Project
	ctx     context.Context // default: the test's
}

func (r *rig) context() context.Context {
	if r.ctx != nil {
		return r.ctx
	}
	return r.t.Context()
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, agent: apitest.Start(t), vars: map[string]string{}}
	r.vars["HOLDFAST_SOCKET"] = r.agent.Socket
	r.env = Env{
		Stdin: strings.NewReader(""), Now: func() time.Time { return apitest.Epoch.Add(90 * time.Second) },
		Getenv: func(k string) string { return r.vars[k] }, Version: "1.2.3",
		Load: func(_ context.Context, opt LoadOptions) (*Project, error) {
			if r.project == nil {
				return nil, holdfast.Errorf(holdfast.ErrInvalid, "no Compose file here")
			}
			p := *r.project
			p.Deployment.Services = append([]holdfast.Spec(nil), p.Deployment.Services...)
			return &p, nil
		},
		Build: func(_ context.Context, src holdfast.ImageSource, b BuildOptions) (Built, error) {
			b.Progress("step 1")
			return Built{Ref: src.Ref + ":built", Tar: io.NopCloser(strings.NewReader("tar of " + src.Ref))}, nil
		},
	}
	t.Chdir(t.TempDir())
	return r
}

type result struct {
	code        int
	out, errout string
}

func (r *rig) run(args ...string) result {
	r.t.Helper()
	var out, errout bytes.Buffer
	env := r.env
	env.Stdout, env.Stderr = &out, &errout
	code := Main(r.context(), env, args)
	return result{code, out.String(), errout.String()}
}

// ok runs a command that must not fail.
func (r *rig) ok(args ...string) string {
	r.t.Helper()
	got := r.run(args...)
	if got.code != 0 {
		r.t.Fatalf("holdfast %s: exit code %d\n%s%s", strings.Join(args, " "), got.code, got.out, got.errout)
	}
	return got.out
}

// arcade is a project of two services, of which one is built.
func arcade(webImage string) *Project {
	return &Project{
		Name: "arcade",
		Deployment: holdfast.Deployment{Name: "arcade", Services: []holdfast.Spec{
			{
				Name: "api", Kind: holdfast.Stateless, KindReason: "keeps nothing", Mode: holdfast.Replicated, Replicas: 1,
				Image: "holdfast.local/arcade/api",
			},
			{
				Name: "web", Kind: holdfast.Stateless, KindReason: "keeps nothing", Mode: holdfast.Replicated, Replicas: 2,
				Image: webImage, Ports: []holdfast.Port{{Target: 80, Published: 8080, Protocol: "tcp", Mode: "ingress"}},
				Routes: []holdfast.Route{{Host: "arcade.test", PathPrefix: "/", Port: 80}},
			},
		}},
		Sources: map[string]holdfast.ImageSource{"api": {Ref: "holdfast.local/arcade/api", Go: &holdfast.GoSource{Package: "./cmd/api"}}},
	}
}

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join(goldenDir, name)
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run go test -rewrite)", err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -rewrite makes it anew):\n--- want\n%s--- got\n%s", name, want, got)
	}
}

var goldenDir = func() string {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		panic(fmt.Sprint("find testdata: ", err))
	}
	return dir
}()

func TestUpPsDown(t *testing.T) {
	r := newRig(t)
	r.agent.World.Run(t)
	r.project = arcade("nginx:1.27")
	got := r.run("up")
	if got.code != 0 {
		t.Fatalf("up: exit code %d\n%s%s", got.code, got.out, got.errout)
	}
	golden(t, "up.txt", got.out)
	golden(t, "ps.txt", r.ok("ps", "-p", "arcade"))
	golden(t, "version.txt", strings.ReplaceAll(r.ok("version"), r.agent.Socket, "SOCKET"))
	if out := r.ok("down", "-p", "arcade"); out != "arcade is down\n" {
		t.Errorf("down printed %q", out)
	}
	if got := r.run("down", "-p", "arcade"); got.code != exitNotFound {
		t.Errorf("down twice: exit code %d: %s", got.code, got.errout)
	}
}
