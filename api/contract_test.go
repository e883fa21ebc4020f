package api_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/apitest"
	"github.com/holdfast/holdfast/container"
)

// recorder notes which routes were asked for.
type recorder struct {
	mu   sync.Mutex
	seen map[string]bool
	next http.Handler
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen[req.Pattern] = true
	}()
	r.next.ServeHTTP(w, req)
}

// serveRecorded serves the agent's API once more, on a socket whose routes are noted.
func serveRecorded(t *testing.T, a *apitest.Agent) (*api.Client, *recorder) {
	t.Helper()
	srv, err := api.New(a.Config())
	if err != nil {
		t.Fatal(err)
	}
	l, err := api.Listen(filepath.Join(t.TempDir(), "api.sock"))
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{seen: map[string]bool{}, next: srv.Handler()}
	hs := &http.Server{Handler: rec}
	go hs.Serve(l) //nolint:errcheck // ends with the test
	t.Cleanup(func() { hs.Close() })
	c := api.Dial(l.Addr().String())
	t.Cleanup(c.Close)
	return c, rec
}

func web(image string, replicas int) holdfast.Spec {
	return holdfast.Spec{
		Name: "web", Kind: holdfast.Stateless, KindReason: "keeps nothing", Mode: holdfast.Replicated, Replicas: replicas,
		Image: image, Routes: []holdfast.Route{{Host: "shop.test", PathPrefix: "/", Port: 80}},
	}
}

// TestEveryRoute calls all of the API through the client, and holds the calls against the document: what it names and
// what is served are the same, and the client reaches all of it.
func TestEveryRoute(t *testing.T) {
	a := apitest.Start(t)
	c, rec := serveRecorded(t, a)
	a.World.Run(t)
	ctx := t.Context()

	info, err := c.Info(ctx)
	check(t, err)
	if info.PID != 42 || info.Node != "n1" || !info.Started.Equal(apitest.Epoch) {
		t.Errorf("info is %+v", info)
	}
	deployShop(t, c)
	callApps(t, a, c)
	callJob(t, c)
	callReplicas(t, a, c)
	callProcesses(t, c)
	callSystem(t, a, c)
	callImages(t, a, c)
	callVolumes(t, a, c)
	if _, err := c.Down(ctx, "shop", false); err != nil {
		t.Fatal(err)
	}
	for range c.WatchApp(ctx, "shop", 0) {
	}
	if _, err := c.App(ctx, "shop"); !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("after down the app is %v", err)
	}
	rawGets(t, c)

	for _, op := range operations(t, c) {
		if !rec.seen[op] {
			t.Errorf("%s is documented, and no call of the client reached it", op)
		}
		delete(rec.seen, op)
	}
	for op := range rec.seen {
		t.Errorf("%s is served, and not documented", op)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func deployShop(t *testing.T, c *api.Client) {
	t.Helper()
	ctx := t.Context()
	d := holdfast.Deployment{Name: "shop", Services: []holdfast.Spec{web("web:1", 2)}}
	dry, err := c.Deploy(ctx, d, true)
	check(t, err)
	if dry.Revision != 0 {
		t.Errorf("dry run made revision %d", dry.Revision)
	}
	wantChanges(t, dry, "deploy app shop: new app", "create release 1 of service web (image web:1): new service",
		"create replica shop-web-1-* of release 1 on node n1: first of release 1", "create replica shop-web-2-* of release 1 on node n1: slot 2 is empty")
	if apps, err := c.Apps(ctx); err != nil || len(apps) != 0 {
		t.Errorf("after a dry run there are %v, %v", apps, err)
	}
	done, err := c.Deploy(ctx, d, false)
	check(t, err)
	for v, err := range c.WatchApp(ctx, "shop", done.Revision) {
		check(t, err)
		if v.Revision < done.Revision {
			t.Errorf("watch showed revision %d, before %d of the deploy", v.Revision, done.Revision)
		}
		if len(v.Services) == 1 && v.Services[0].Updated == 2 {
			break
		}
	}
}

// wantChanges compares what a verb changed with lines of what and why; a * in them stands for the random part of a
// replica's ID.
func wantChanges(t *testing.T, got api.Changes, want ...string) {
	t.Helper()
	var lines []string
	for _, c := range got.Changes {
		line := regexp.MustCompile(`(shop-web-\d-)[a-z0-9]{6}`).ReplaceAllString(c.What, "$1*")
		if c.Why != "" {
			line += ": " + c.Why
		}
		lines = append(lines, line)
	}
	if !slices.Equal(lines, want) {
		t.Errorf("changes are\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func callApps(t *testing.T, a *apitest.Agent, c *api.Client) {
	t.Helper()
	ctx := t.Context()
	v, err := c.App(ctx, "shop")
	check(t, err)
	s := v.Services[0]
	if s.Want != 2 || s.Ready != 2 || s.Image != "web:1" || len(s.Replicas) != 2 || s.Replicas[0].Slot != 1 {
		t.Errorf("service is %+v", s)
	}
	one, err := c.Service(ctx, "shop", "web")
	check(t, err)
	if one.Name != "web" {
		t.Errorf("service is %+v", one)
	}
	changes, err := c.Scale(ctx, "shop", "web", 3)
	check(t, err)
	wantChanges(t, changes, "scale service web from 2 to 3: asked for")
	a.World.Hold("web") // a rollout that is done cannot be paused
	for _, v := range []struct {
		call func(context.Context, string, string) (api.Changes, error)
		want string
	}{
		{c.Restart, "create release 2 of service web, equal to 1: restart asked for"},
		{c.Pause, "pause the rollout of release 2 of service web: asked for"},
		{c.Resume, "resume the rollout of release 2 of service web: asked for"},
	} {
		changes, err := v.call(ctx, "shop", "web")
		check(t, err)
		if changes.Revision == 0 {
			t.Errorf("changes without a revision: %+v", changes)
		}
		wantChanges(t, changes, v.want)
	}
	changes, err = c.Rollback(ctx, "shop", "web", 1, false)
	check(t, err)
	wantChanges(t, changes, "roll service web back from release 2 to 1: asked for")
	releases, err := c.Releases(ctx, "shop", "web")
	check(t, err)
	if len(releases) != 2 || releases[0].Number != 2 || releases[0].Note != "restart of release 1" {
		t.Errorf("releases are %+v", releases)
	}
	for v, err := range c.WatchApp(ctx, "shop", 0) {
		check(t, err)
		if v.Services[0].Updated == 3 {
			break
		}
	}
}

func callJob(t *testing.T, c *api.Client) {
	t.Helper()
	ctx := t.Context()
	spec := holdfast.Spec{Name: "report", Mode: holdfast.Job, Image: "report:1"}
	_, err := c.Deploy(ctx, holdfast.Deployment{Name: "tools", Services: []holdfast.Spec{spec}}, false)
	check(t, err)
	changes, err := c.RunJob(ctx, "tools", "report")
	check(t, err)
	wantChanges(t, changes, "run job report: asked for")
	if _, err := c.RunJob(ctx, "shop", "web"); !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("a service run as a job: %v", err)
	}
}

func callReplicas(t *testing.T, a *apitest.Agent, c *api.Client) {
	t.Helper()
	ctx := t.Context()
	all, err := c.Replicas(ctx, "shop", "web", true)
	check(t, err)
	if len(all) != 3 {
		t.Fatalf("replicas are %+v", all)
	}
	r, err := c.Replica(ctx, all[0].ID)
	check(t, err)
	check(t, c.Signal(ctx, r.ID, syscall.SIGHUP))
	if got := a.Processes.Signals(); !slices.Contains(got, r.ID+" hangup") {
		t.Errorf("signals are %v", got)
	}
	check(t, c.CopyTo(ctx, r.ID, "/in", bytes.NewReader(tarOf(t, "hello.txt", "hello"))))
	if got, err := os.ReadFile(filepath.Join(a.Files.Root, "in/hello.txt")); err != nil || string(got) != "hello" {
		t.Errorf("copied in: %q, %v", got, err)
	}
	out, err := c.CopyFrom(ctx, r.ID, "/in")
	check(t, err)
	defer out.Close()
	var names []string
	for tr := tar.NewReader(out); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		check(t, err)
		names = append(names, h.Name)
	}
	if !slices.Equal(names, []string{"in", "in/hello.txt"}) {
		t.Errorf("copied out: %v", names)
	}
	a.Logs.Write(r.ID, apitest.Epoch, "stdout", "line")
	for line, err := range c.Logs(ctx, "shop", api.LogsRequest{Tail: -1}) {
		check(t, err)
		if line.Text != "line" || line.Service != "web" || line.Slot != r.Slot || line.Stream != "stdout" {
			t.Errorf("line is %+v", line)
		}
	}
}

func tarOf(t *testing.T, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	check(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
	_, err := io.WriteString(w, content)
	check(t, err)
	check(t, w.Close())
	return b.Bytes()
}

func callProcesses(t *testing.T, c *api.Client) {
	t.Helper()
	id := firstReplica(t, c)
	p, err := c.Exec(t.Context(), id, container.ExecSpec{Args: []string{"sh", "-c", "echo out; echo err >&2; exit 3"}})
	check(t, err)
	out, errs, code := drain(t, p)
	if out != "out\n" || errs != "err\n" || code != 3 {
		t.Errorf("exec gave %q, %q, %d", out, errs, code)
	}
	p, err = c.Attach(t.Context(), id, false)
	check(t, err)
	_, err = io.WriteString(p.Stdin(), "echoed\n")
	check(t, err)
	check(t, p.Stdin().Close())
	if out, _, code := drain(t, p); out != "echoed\n" || code != 0 {
		t.Errorf("attach gave %q, %d", out, code)
	}
	callForward(t, c, id)
}

func firstReplica(t *testing.T, c *api.Client) string {
	t.Helper()
	all, err := c.Replicas(t.Context(), "", "", false)
	check(t, err)
	return all[0].ID
}

// drain reads all that a process writes and its exit code.
func drain(t *testing.T, p container.Exec) (out, errs string, code int) {
	t.Helper()
	defer p.Close()
	var wg sync.WaitGroup
	var o, e []byte
	wg.Go(func() { o, _ = io.ReadAll(p.Stdout()) })
	if r := p.Stderr(); r != nil {
		wg.Go(func() { e, _ = io.ReadAll(r) })
	}
	wg.Wait()
	code, err := p.Wait()
	check(t, err)
	return string(o), string(e), code
}

func callForward(t *testing.T, c *api.Client, id string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		text, _ := io.ReadAll(conn) // until the caller's half-close
		_, _ = conn.Write(bytes.ToUpper(text))
	}()
	conn, err := c.Forward(t.Context(), id, uint16(l.Addr().(*net.TCPAddr).Port))
	check(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "both ways")
	check(t, err)
	check(t, conn.(interface{ CloseWrite() error }).CloseWrite())
	if got, err := io.ReadAll(conn); err != nil || string(got) != "BOTH WAYS" {
		t.Errorf("forwarded: %q, %v", got, err)
	}
}

func callSystem(t *testing.T, a *apitest.Agent, c *api.Client) {
	t.Helper()
	ctx := t.Context()
	nodes, err := c.Nodes(ctx)
	check(t, err)
	if len(nodes) != 1 || nodes[0].Name != "one" {
		t.Errorf("nodes are %+v", nodes)
	}
	count := 0
	for e, err := range c.Events(ctx, api.EventsRequest{App: "shop", Tail: 1}) {
		check(t, err)
		count++
		if e.Type != holdfast.RolloutStarted {
			t.Errorf("event is %+v", e)
		}
	}
	if count != 1 {
		t.Errorf("%d events", count)
	}
	for u, err := range c.Stats(ctx, "shop", "", time.Millisecond, 2) {
		check(t, err)
		if len(u.Replicas) != 3 || u.Replicas[0].Stats.Memory != 12<<20 {
			t.Errorf("usage is %+v", u)
		}
	}
	routes, err := c.Routes(ctx)
	check(t, err)
	if len(routes) != 1 || routes[0].Route.Host != "shop.test" || routes[0].Ready != 3 {
		t.Errorf("routes are %+v", routes)
	}
	m, err := c.MatchRoute(ctx, api.RouteRequest{Host: "shop.test", Path: "/x"})
	check(t, err)
	if m.Service != "shop/web" || m.Forwarded != "/x" {
		t.Errorf("match is %+v", m)
	}
}
