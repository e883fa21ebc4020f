package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

func TestUpDryRun(t *testing.T) {
	r := newRig(t)
	r.project = arcade("nginx:1.27")
	out := r.ok("plan")
	golden(t, "plan.txt", out)
	if dry := r.ok("up", "--dry-run"); dry != out {
		t.Errorf("up --dry-run printed %q", dry)
	}
	if out := r.ok("ps", "-p", "none", "--json", "--help"); out == "" {
		t.Error("no help")
	}
	apps, err := r.agent.Client.Apps(t.Context())
	if err != nil || len(apps) != 0 {
		t.Errorf("a dry run deployed %v, %v", apps, err)
	}
	r.agent.World.Run(t)
	r.ok("up")
	if out := r.ok("plan"); out != "Nothing would change.\n" {
		t.Errorf("plan of what is there printed %q", out)
	}
}

func TestUpPinsImages(t *testing.T) {
	r := newRig(t)
	r.deployed()
	v, err := r.agent.Client.App(t.Context(), "arcade")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range v.Services {
		name, digest, ok := strings.Cut(s.Image, "@sha256:")
		if !ok || len(digest) != 64 || name != map[string]string{"api": "holdfast.local/arcade/api:built", "web": "nginx:1.27"}[s.Name] {
			t.Errorf("image of %s is %s", s.Name, s.Image)
		}
	}
}

func TestUpProgressLog(t *testing.T) {
	r := newRig(t)
	r.agent.World.Run(t)
	r.project = arcade("nginx:1.27")
	log := r.run("up").errout
	for _, want := range []string{
		"build api: done in 0s, 32 B", "pull nginx:1.27: done in 0s, 1.0 KiB",
		"api: 1 of 1 ready, release 1 done", "web.2 (release 1): ready after 0s", "web: 2 of 2 ready, release 1 done",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	again := r.run("up", "--force-recreate").errout
	if strings.Contains(again, "(release 1): ready") {
		t.Errorf("the second log tells of what was there:\n%s", again)
	}
}

func TestUpFailures(t *testing.T) {
	for _, tt := range []struct {
		name  string
		setup func(r *rig)
		args  []string
		code  int
		text  string
	}{
		{
			"refused", func(r *rig) {
				r.project.Deployment.Services[0].Image = "x"
				r.project.Deployment.Services[1].Image = "absent/web"
			},
			nil, exitNotFound, "service web: pull absent/web: the registry has no such image",
		},
		{
			"never pulled", func(r *rig) {}, []string{"--pull", "never"}, exitNotFound, "service web: no image nginx:1.27",
		},
		{
			"rolled back", func(r *rig) { r.agent.World.Fail("web", "exit code 1 at once") }, nil, exitRollout,
			"service web was rolled back to release 0: exit code 1 at once",
		},
		{
			"build", func(r *rig) { r.project.Sources["api"] = holdfast.ImageSource{Ref: "bad"} }, nil, exitUsage,
			"service api: build bad: no source",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.project = arcade("nginx:1.27")
			build := r.env.Build
			r.env.Build = func(ctx context.Context, src holdfast.ImageSource, b BuildOptions) (Built, error) {
				if src.Ref == "bad" {
					return Built{}, holdfast.Errorf(holdfast.ErrInvalid, "build bad: no source")
				}
				return build(ctx, src, b)
			}
			tt.setup(r)
			r.agent.World.Run(t)
			got := r.run(append([]string{"up"}, tt.args...)...)
			if got.code != tt.code || lastMessage(got.errout) != tt.text {
				t.Errorf("exit code %d, want %d\n%s", got.code, tt.code, got.errout)
			}
		})
	}
}

func TestUpTimeout(t *testing.T) {
	r := newRig(t) // nobody plays the nodes: nothing ever gets ready
	r.project = arcade("nginx:1.27")
	got := r.run("up", "--timeout", "100ms")
	const want = "not done after 100ms (--timeout); the rollout goes on: holdfast ps, holdfast events -f"
	if got.code != exitRollout || lastMessage(got.errout) != want {
		t.Errorf("exit code %d\n%s", got.code, got.errout)
	}
	if got := r.run("up", "--detach"); got.code != 0 {
		t.Errorf("detached: exit code %d\n%s", got.code, got.errout)
	}
}

// TestUpStartsAnAgent: no agent answers, so one is started, and up goes on as soon as it answers.
func TestUpStartsAnAgent(t *testing.T) {
	r := newRig(t)
	r.agent.World.Run(t)
	r.project = arcade("nginx:1.27")
	run := filepath.Join(t.TempDir(), "run")
	r.vars["HOLDFAST_SOCKET"] = filepath.Join(run, "api.sock")
	var args []string
	r.env.Spawn = func(a []string, logFile string) (Spawned, error) {
		args = a
		srv, err := api.New(r.agent.Config())
		if err != nil {
			return Spawned{}, err
		}
		l, err := api.Listen(filepath.Join(run, "api.sock"))
		if err != nil {
			return Spawned{}, err
		}
		go srv.Serve(t.Context(), l) //nolint:errcheck // ends with the test
		return Spawned{PID: 77, Done: make(chan error)}, os.WriteFile(logFile, nil, 0o600)
	}
	got := r.run("up")
	if got.code != 0 || strings.Join(args, " ") != "agent --run "+run {
		t.Errorf("exit code %d, agent started with %v\n%s", got.code, args, got.errout)
	}
	for _, want := range []string{"started one in the background (pid 77, log " + run + "/agent.log)", "holdfast agent install"} {
		if !strings.Contains(got.errout, want) {
			t.Errorf("up does not say %q:\n%s", want, got.errout)
		}
	}
}

func TestUpAgentThatEnds(t *testing.T) {
	r := newRig(t)
	r.project = arcade("nginx:1.27")
	run := filepath.Join(t.TempDir(), "run")
	r.vars["HOLDFAST_SOCKET"] = filepath.Join(run, "api.sock")
	r.env.Spawn = func(_ []string, logFile string) (Spawned, error) {
		done := make(chan error, 1)
		done <- errors.New("exit status 2")
		return Spawned{PID: 77, Done: done}, os.WriteFile(logFile, []byte("level=ERROR msg=\"no space\"\n"), 0o600)
	}
	got := r.run("up")
	want := "the agent ended at once (exit status 2); its last words in " + run + "/agent.log:\n  level=ERROR msg=\"no space\""
	if got.code != exitUnavailable || lastMessage(got.errout) != want {
		t.Errorf("exit code %d\n%s", got.code, got.errout)
	}
}

func TestDownDeletesVolumes(t *testing.T) {
	r := newRig(t)
	r.project = arcade("nginx:1.27")
	r.project.Deployment.Volumes = map[string]holdfast.Volume{
		"data": {Name: "arcade_data"}, "shared": {Name: "shared", External: true}, "never": {Name: "arcade_never"},
	}
	r.agent.World.Run(t)
	r.ok("up")
	r.agent.Volumes.Add(api.VolumeInfo{Name: "arcade_data"})
	r.agent.Volumes.Add(api.VolumeInfo{Name: "shared"})
	golden(t, "plan-down.txt", r.ok("down", "--dry-run"))
	r.ok("down", "--volumes")
	left, err := r.agent.Client.Volumes(t.Context())
	if err != nil || len(left) != 1 || left[0].Name != "shared" {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestUpUnreachable: what runs and cannot be reached is said by up, which fails, and by ps.
func TestUpUnreachable(t *testing.T) {
	r := newRig(t)
	r.agent.World.Run(t)
	r.project = arcade("nginx:1.27")
	const want = "arcade runs, but not all of it can be reached:\n" +
		"web: the gateway does not run: :80 is taken\n  end it\n" +
		"web: tcp 0.0.0.0:8080 is taken"
	r.agent.SetProblems(api.Problem{What: "the gateway does not run: :80 is taken", Advice: "end it"},
		api.Problem{App: "arcade", Service: "web", What: "tcp 0.0.0.0:8080 is taken"},
		api.Problem{App: "other", Service: "web", What: "tcp 0.0.0.0:9090 is taken"})
	got := r.run("up")
	if got.code != exitUnavailable || lastMessage(got.errout) != want {
		t.Errorf("exit code %d\n%s", got.code, got.errout)
	}
	if !strings.Contains(got.out, "http://arcade.test/") {
		t.Errorf("up does not say where the rest is:\n%s", got.out)
	}
	golden(t, "ps-unreachable.txt", r.ok("ps"))
	info, err := r.agent.Client.Info(t.Context())
	if err != nil || len(info.Problems) != 3 {
		t.Errorf("info is %+v, %v", info, err)
	}
	r.agent.SetProblems()
	r.ok("up")
}
