package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/apitest"
)

// troubled fills the store with replicas in every state, and services with none.
func (r *rig) troubled() {
	r.t.Helper()
	now := apitest.Epoch
	ports := []holdfast.Port{{Target: 80, Published: 8080, Protocol: "tcp"}, {Target: 53, Published: 5353, Protocol: "udp", HostIP: "127.0.0.1"}}
	zero := 0
	put := func(nouns ...any) { r.agent.Put(r.t, nouns...) }
	put(&holdfast.App{Name: "arcade"},
		&holdfast.Service{App: "arcade", Name: "web", Release: 2, Last: 2, Stable: 1, Rollout: holdfast.Rollout{From: 1, To: 2, Phase: holdfast.Rolling}},
		&holdfast.Service{App: "arcade", Name: "api", Release: 1, Last: 1, Backoff: holdfast.Backoff{Failures: 3, Until: now.Add(98 * time.Second), Reason: "exit code 2 after 4ms"}},
		&holdfast.Service{App: "arcade", Name: "idle", Release: 1, Last: 1, Scale: &zero},
		&holdfast.Service{App: "arcade", Name: "report", Release: 1, Last: 1, Run: holdfast.JobRun{LastFire: now.Add(-time.Hour)}},
		&holdfast.Service{App: "arcade", Name: "old", Release: 1, Last: 1, Removing: true},
	)
	spec := holdfast.Spec{Mode: holdfast.Replicated, Replicas: 2, Image: "nginx:1.27@sha256:" + strings.Repeat("ab", 32), Ports: ports}
	release := func(service string, n int, outcome holdfast.Phase, note string, s holdfast.Spec) *holdfast.Release {
		s.Name = service
		return &holdfast.Release{App: "arcade", Service: service, Number: n, Digest: "sha256:" + strings.Repeat("0f", 32), Spec: s,
			Created: now.Add(-time.Duration(5-n) * time.Hour), Note: note, Outcome: outcome}
	}
	job := holdfast.Spec{Mode: holdfast.Job, Image: "report:1", Triggers: []holdfast.Trigger{{Cron: "@daily"}, {Cron: "0 6 * * *"}}}
	put(release("web", 1, holdfast.Done, "deployed: new service", spec), release("web", 2, "", "deployed: image changed", spec),
		release("api", 1, holdfast.Halted, "deployed", spec), release("idle", 1, holdfast.Done, "", spec), release("report", 1, holdfast.Done, "", job))
	replica := func(id, service string, slot, rel int, st holdfast.Status) {
		st.ID, st.Node = id, "n1"
		rep := &holdfast.Replica{ID: id, App: "arcade", Service: service, Slot: slot, Release: rel, Node: "n1", Desired: holdfast.Run, Created: now.Add(-time.Minute)}
		if st.State == holdfast.Draining || st.State == holdfast.Stopping {
			rep.Desired, rep.StopWhy, rep.StopSince = holdfast.Stop, "updated to release 2", now
		}
		put(rep)
		if st.State != "" {
			put(&st)
		}
	}
	replica("arcade-web-1-aa", "web", 1, 1, holdfast.Status{State: holdfast.Draining})
	put(&holdfast.Drain{Replica: "arcade-web-1-aa", Node: "n1", InFlight: 3})
	replica("arcade-web-1-bb", "web", 1, 2, holdfast.Status{State: holdfast.Running, Ready: true, Started: now, ReadyAt: now})
	replica("arcade-web-2-cc", "web", 2, 1, holdfast.Status{State: holdfast.Stopping})
	replica("arcade-web-2-dd", "web", 2, 2, holdfast.Status{State: holdfast.Starting, Reason: "waiting for its readiness probe: GET / gave 503"})
	replica("arcade-web-3-ee", "web", 3, 2, holdfast.Status{})
	replica("arcade-web-3-ff", "web", 3, 2, holdfast.Status{State: holdfast.Failed, ExitCode: 1, Finished: now})
	replica("arcade-report-1-gg", "report", 1, 1, holdfast.Status{State: holdfast.Stopped, Finished: now})
}

func TestPsOfTrouble(t *testing.T) {
	r := newRig(t)
	r.troubled()
	golden(t, "ps-trouble.txt", r.ok("ps"))
	golden(t, "ps-all.txt", r.ok("ps", "-a"))
	if out := r.ok("ps", "-q", "web"); out != "arcade-web-1-aa\narcade-web-1-bb\narcade-web-2-cc\narcade-web-2-dd\narcade-web-3-ee\n" {
		t.Errorf("ps -q printed %q", out)
	}
	r.agent.Put(t, &holdfast.App{Name: "shop"}, &holdfast.Service{App: "shop", Name: "till", Release: 1})
	golden(t, "ps-apps.txt", r.ok("ps"))
}

func TestHistory(t *testing.T) {
	r := newRig(t)
	r.troubled()
	golden(t, "history.txt", r.ok("history"))
	golden(t, "history-web.txt", r.ok("history", "web"))
	var list []holdfast.Release
	if err := json.Unmarshal([]byte(r.ok("history", "web", "--json")), &list); err != nil || len(list) != 2 || list[0].Number != 2 {
		t.Errorf("as JSON: %v, %v", list, err)
	}
}

func TestJobs(t *testing.T) {
	r := newRig(t)
	r.troubled()
	golden(t, "jobs.txt", r.ok("job", "ls"))
}

func TestEvents(t *testing.T) {
	r := newRig(t)
	r.agent.Put(t, holdfast.Event{Type: holdfast.AppDeployed, App: "arcade", Message: "deployed"},
		holdfast.Event{Type: holdfast.ReplicaFailed, App: "arcade", Service: "web", Replica: "arcade-web-1-aa", Message: "exit code 1 after 3ms"},
		holdfast.Event{Type: holdfast.NodeJoined, Node: "n1", Message: "joined"})
	t.Setenv("TZ", "UTC")
	out := strings.ReplaceAll(r.ok("events"), apitest.Epoch.Local().Format("2006-01-02 15:04:05.000"), "TIME")
	golden(t, "events.txt", out)
	if out := r.ok("events", "--json", "-n", "1"); !strings.Contains(out, `"type":"node.joined"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("as JSON: %s", out)
	}
}

func TestLogs(t *testing.T) {
	r := newRig(t)
	r.troubled()
	for i, l := range []struct{ id, text string }{
		{"arcade-web-1-bb", "GET / 200"}, {"arcade-report-1-gg", "sum 42"}, {"arcade-web-2-dd", "GET /x 404"},
	} {
		r.agent.Logs.Write(l.id, apitest.Epoch.Add(time.Duration(i)*time.Second), "stdout", l.text)
	}
	golden(t, "logs.txt", r.ok("logs"))
	golden(t, "logs-times.txt", r.ok("logs", "-t", "--since", "90s", "web"))
	for _, tt := range []struct{ args, want string }{
		{"logs --no-prefix web.2", "GET /x 404\n"},
		{"logs --no-prefix arcade-report-1-gg web.1", "GET / 200\nsum 42\n"},
		{"logs --no-prefix web report", "GET / 200\nsum 42\nGET /x 404\n"},
		{"logs --no-prefix web report web.1", "GET / 200\nsum 42\nGET /x 404\n"},
		{"logs --no-prefix --since 2026-01-02T03:04:06Z", "sum 42\nGET /x 404\n"},
	} {
		if got := r.ok(strings.Fields(tt.args)...); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestLogParts(t *testing.T) {
	var out strings.Builder
	p := &logPrinter{out: &out, prefix: true, parts: map[string]string{}}
	for _, l := range []api.LogLine{
		{Service: "web", Slot: 1, Replica: "a", Stream: "stdout", Text: "one long ", Partial: true},
		{Service: "web", Slot: 2, Replica: "b", Stream: "stdout", Text: "other"},
		{Service: "web", Slot: 1, Replica: "a", Stream: "stderr", Text: "error"},
		{Service: "web", Slot: 1, Replica: "a", Stream: "stdout", Text: "line"},
		{Service: "web", Slot: 10, Replica: "c", Stream: "stdout", Text: "wider"},
		{Service: "web", Slot: 1, Replica: "a", Stream: "stdout", Text: "cut", Partial: true},
	} {
		if err := p.print(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	const want = "web.2 | other\nweb.1 | error\nweb.1 | one long line\nweb.10 | wider\ncut\n"
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestTop(t *testing.T) {
	r := newRig(t)
	r.deployed()
	out := r.ok("top", "--interval", "100ms")
	if !strings.HasPrefix(out, "SERVICE   SLOT   REPLICA") || strings.Count(out, "\n") != 4 || !strings.Contains(out, "25.0%   12 MiB   64 MiB   3") {
		t.Errorf("top printed\n%s", out)
	}
}

func TestInspect(t *testing.T) {
	r := newRig(t)
	r.deployed()
	r.agent.Volumes.Add(api.VolumeInfo{Name: "data"})
	for name, want := range map[string]string{
		"web": `"kindReason": "keeps nothing"`, "web.2": `"id": "arcade-web-2-r1"`, "arcade-api-1-r1": `"slot": 1`, "arcade": `"services": [`,
		"one": `"cpus": 2`, "data": `"name": "data"`, "nginx:1.27": `"platform": "linux/amd64"`,
	} {
		out := r.ok("inspect", name)
		var v []any
		if err := json.Unmarshal([]byte(out), &v); err != nil || len(v) != 1 || !strings.Contains(out, want) {
			t.Errorf("inspect %s lacks %s (%v):\n%s", name, want, err, out)
		}
	}
}

func TestRoutes(t *testing.T) {
	r := newRig(t)
	r.deployed()
	golden(t, "routes.txt", r.ok("route", "ls")+r.ok("route", "test", "http://arcade.test/x"))
}

func TestImagesAndVolumes(t *testing.T) {
	r := newRig(t)
	r.agent.Images.Add(api.Image{Name: "web:1", Digest: "sha256:" + strings.Repeat("ab", 32), SizeBytes: 30 << 20, Created: apitest.Epoch, Platform: "linux/amd64", InUse: true})
	r.agent.Images.Add(api.Image{Name: "old:1", SizeBytes: 1500})
	r.agent.Volumes.Add(api.VolumeInfo{Name: "data", App: "arcade", SizeBytes: 5 << 30, Created: apitest.Epoch, UsedBy: []string{"arcade-db-1-x"}, Node: "n1"})
	r.agent.Volumes.Add(api.VolumeInfo{Name: "left"})
	out := r.ok("image", "ls") + r.ok("image", "prune") + r.ok("volume", "ls") + r.ok("volume", "prune")
	r.env.Stdin = strings.NewReader("tar")
	out += r.ok("image", "import", "-", "tools:2") + r.ok("image", "rm", "tools:2") + r.ok("image", "pull", "nginx:1.27")
	golden(t, "images.txt", out)
	if got := r.run("volume", "rm", "data"); got.code != exitConflict || lastMessage(got.errout) != "volume data is in use by arcade-db-1-x" {
		t.Errorf("rm of a used volume: %d %s", got.code, got.errout)
	}
	if got := r.run("image", "rm", "web:1"); got.code != exitConflict {
		t.Errorf("rm of a used image: %d %s", got.code, got.errout)
	}
}

func TestCompletion(t *testing.T) {
	r := newRig(t)
	r.deployed()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"logs", ""}, "api web api.1 arcade-api-1-r1 web.1 arcade-web-1-r1 web.2 arcade-web-2-r1"},
		{[]string{"scale", ""}, "api= web="},
		{[]string{"image", "rm", ""}, "holdfast.local/arcade/api:built nginx:1.27"},
		{[]string{"history", "web", ""}, ""},
		{[]string{"completion", ""}, "bash zsh fish"},
	} {
		out := r.ok(append([]string{"__complete"}, tt.args...)...)
		out, _, _ = strings.Cut(out, ":4\n")
		if got := strings.Join(strings.Fields(out), " "); got != tt.want {
			t.Errorf("completing %q: %s", tt.args, got)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := r.ok("completion", shell); !strings.Contains(out, "holdfast") {
			t.Errorf("no script for %s", shell)
		}
	}
}

// TestWhichReplica: the name of a service that several apps have is no replica's.
func TestWhichReplica(t *testing.T) {
	r := newRig(t)
	for _, app := range []string{"one", "two"} {
		r.agent.Put(t, &holdfast.App{Name: app}, &holdfast.Service{App: app, Name: "web", Release: 1},
			&holdfast.Replica{ID: app + "-web-1-aa", App: app, Service: "web", Slot: 1, Release: 1, Node: "n1", Desired: holdfast.Run},
			&holdfast.Status{ID: app + "-web-1-aa", State: holdfast.Running, Ready: true})
	}
	got := r.run("exec", "web", "true")
	if got.code != exitUsage || lastMessage(got.errout) != "web is a service of several apps: name one with --app: one, two" {
		t.Errorf("exit code %d: %s", got.code, got.errout)
	}
	r.ok("exec", "-p", "two", "web", "true")
	r.ok("exec", "one-web-1-aa", "true")
}
