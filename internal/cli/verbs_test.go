package cli

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api/apitest"
	"github.com/holdfast/holdfast/store"
)

func TestScaleRestartRollback(t *testing.T) {
	r := newRig(t)
	r.deployed()
	for _, tt := range []struct{ args, want string }{
		{"scale web=3 api=2", "scale service api from 1 to 2\nscale service web from 2 to 3\n"},
		{"scale web=3", "Nothing to change.\n"},
		{"restart web", "create release 2 of service web, equal to 1\n"},
		{"rollback web 1", "roll service web back from release 2 to 1\n"},
		{"rollback web 1", "Nothing to change.\n"},
		{"rollback web 2", "roll service web back from release 1 to 2\n"},
	} {
		if out := r.ok(strings.Fields(tt.args)...); out != tt.want {
			t.Errorf("%s printed %q, want %q", tt.args, out, tt.want)
		}
	}
	if out := r.ok("ps", "-q"); strings.Count(out, "\n") != 5 {
		t.Errorf("after scale there are\n%s", out)
	}
	if out := r.ok("rollback", "--dry-run", "web"); !strings.Contains(out, "\nroll service web back from release 2 to 1 ") {
		t.Errorf("dry run printed %q", out)
	}
	if out := r.ok("rollback", "--json"); !strings.Contains(out, `"what": "roll service web back from release 2 to 1"`) || strings.Contains(out, "api") {
		t.Errorf("rollback of all printed %q", out)
	}
	if got := r.run("rollback"); got.code != exitConflict || lastMessage(got.errout) != "roll back app arcade: no service has an earlier release" {
		t.Errorf("rollback with nothing before: %d %s", got.code, got.errout)
	}
}

func TestPauseAndResume(t *testing.T) {
	r := newRig(t)
	r.deployed()
	if got := r.run("pause", "web"); got.code != exitConflict || lastMessage(got.errout) != "pause web: no rollout is running" {
		t.Errorf("pause with no rollout: %d %s", got.code, got.errout)
	}
	r.agent.World.Hold("web")
	r.ok("restart", "--detach", "web")
	if out := r.ok("pause", "web"); out != "pause the rollout of release 2 of service web\n" {
		t.Errorf("pause printed %q", out)
	}
	if out := r.ok("ps"); !strings.HasSuffix(out, "\nweb: the rollout of release 2 is paused (holdfast resume web)\n") {
		t.Errorf("ps does not tell:\n%s", out)
	}
	if out := r.ok("pause", "web"); out != "Nothing to change.\n" {
		t.Errorf("pause twice printed %q", out)
	}
	if out := r.ok("resume", "web"); out != "resume the rollout of release 2 of service web\n" {
		t.Errorf("resume printed %q", out)
	}
	if got := r.run("resume", "web"); got.code != exitConflict || lastMessage(got.errout) != "resume web: its rollout is not paused" {
		t.Errorf("resume twice: %d %s", got.code, got.errout)
	}
}

func TestKill(t *testing.T) {
	r := newRig(t)
	r.deployed()
	if out := r.ok("kill", "web.2"); out != "sent SIGKILL to arcade-web-2-r1\n" {
		t.Errorf("kill printed %q", out)
	}
	if out := r.ok("kill", "--all", "-s", "hup", "web"); out != "sent SIGHUP to arcade-web-1-r1\nsent SIGHUP to arcade-web-2-r1\n" {
		t.Errorf("kill --all printed %q", out)
	}
	want := "arcade-web-2-r1 killed, arcade-web-1-r1 hangup, arcade-web-2-r1 hangup"
	if got := strings.Join(r.agent.Processes.Signals(), ", "); got != want {
		t.Errorf("sent %s", got)
	}
}

func TestCopy(t *testing.T) {
	r := newRig(t)
	r.deployed()
	root := r.agent.Files.Root
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(root, "srv/keep"), "kept")
	write("dir/sub/a", "A")
	write("one", "1")
	if err := os.Symlink("sub/a", "dir/link"); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{
		{"one", "web:/srv/"}, {"one", "web.1:/srv/renamed"}, {"dir", "web:/srv"}, {"dir", "web:/new"},
		{"web:/srv/one", "back"}, {"web:/srv/dir", "."}, {"web:/new", "here"},
	} {
		r.ok("cp", c[0], c[1])
	}
	for path, want := range map[string]string{
		root + "/srv/one": "1", root + "/srv/renamed": "1", root + "/srv/dir/sub/a": "A", root + "/new/sub/a": "A",
		root + "/srv/keep": "kept", "back": "1", "dir/sub/a": "A", "here/sub/a": "A",
	} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", path, got, err)
		}
	}
	if got := r.run("cp", "one", "web:/absent/"); got.code != exitUsage || lastMessage(got.errout) != "/absent/ is no directory in arcade-web-1-r1" {
		t.Errorf("into no directory: %d %s", got.code, got.errout)
	}
	if out := r.ok("cp", "web:/srv/one", "-"); !strings.HasPrefix(out, "one\x00") {
		t.Errorf("to standard output: %.20q", out)
	}
}

func TestPortForward(t *testing.T) {
	r := newRig(t)
	r.deployed()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, "got "+line)
			conn.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, w := io.Pipe()
	env := r.env
	env.Stdout, env.Stderr = w, io.Discard
	code := make(chan int, 1)
	go func() { code <- Main(ctx, env, []string{"port-forward", "web", "0:" + port}) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	here, _, _ := strings.Cut(line, " -> web port "+port)
	for _, text := range []string{"one\n", "two\n"} {
		conn, err := net.Dial("tcp", here)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text)
		if got, err := io.ReadAll(conn); err != nil || string(got) != "got "+text {
			t.Errorf("through the port: %q, %v", got, err)
		}
		conn.Close()
	}
	cancel()
	if c := <-code; c != 0 {
		t.Errorf("exit code %d", c)
	}
}

func TestJobRun(t *testing.T) {
	r := newRig(t)
	spec := holdfast.Spec{Name: "report", Mode: holdfast.Job, Image: "report:1"}
	r.agent.Put(t, &holdfast.App{Name: "arcade"}, &holdfast.Service{App: "arcade", Name: "report", Release: 1},
		&holdfast.Release{App: "arcade", Service: "report", Number: 1, Spec: spec})
	r.vars["HOLDFAST_APP"] = "arcade"
	go r.playJob()
	got := r.run("job", "run", "report")
	if got.code != 4 || got.out != "sum 42\n" || lastMessage(got.errout) != "job report failed: exit code 4" {
		t.Errorf("exit code %d, %q, %s", got.code, got.out, got.errout)
	}
}

// playJob runs the job that is asked for: one line of output, exit code 4.
func (r *rig) playJob() {
	ctx := r.t.Context()
	for revision := int64(0); ; {
		snap, err := r.agent.Store.Wait(ctx, revision)
		if err != nil {
			return
		}
		revision = snap.Revision
		svc, _ := snap.Services.Get(store.ServiceKey("arcade", "report"))
		if svc.Run.Requested == 0 {
			continue
		}
		run := &holdfast.Replica{ID: "arcade-report-1-x", App: "arcade", Service: "report", Release: 1, Slot: 1, Desired: holdfast.Run}
		r.agent.Logs.Write(run.ID, apitest.Epoch, "stdout", "sum 42")
		st := &holdfast.Status{ID: run.ID, State: holdfast.Failed, ExitCode: 4}
		_ = r.agent.Store.Update(ctx, func(_ *store.Snapshot, tx *store.Tx) error { tx.Put(run); return nil })
		r.agent.Logs.End(run.ID)
		_ = r.agent.Store.Update(ctx, func(_ *store.Snapshot, tx *store.Tx) error { tx.Put(st); return nil })
		return
	}
}

func TestConfig(t *testing.T) {
	r := newRig(t)
	r.project = arcade("nginx:1.27")
	r.project.Text = func() ([]byte, error) { return []byte("name: arcade\n"), nil }
	r.project.JSON = func() ([]byte, error) { return []byte("{}\n"), nil }
	for args, want := range map[string]string{
		"config": "name: arcade\n", "config --json": "{}\n", "config --services": "api\nweb\n",
		"config --images": "holdfast.local/arcade/api\nnginx:1.27\n",
	} {
		if out := r.ok(strings.Fields(args)...); out != want {
			t.Errorf("%s printed %q", args, out)
		}
	}
}

func TestImageBuild(t *testing.T) {
	r := newRig(t)
	r.project = arcade("nginx:1.27")
	out := r.ok("image", "build")
	if !regexp.MustCompile(`^holdfast\.local/arcade/api:built@sha256:[0-9a-f]{64}\n$`).MatchString(out) {
		t.Errorf("build printed %q", out)
	}
	r.project.Sources = nil
	if got := r.run("image", "build"); got.code != exitNotFound {
		t.Errorf("with nothing to build: %d %s", got.code, got.errout)
	}
}
