package daemon_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast/holdfast/internal/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// hello is an app of one service that publishes a port.
const hello = `name: hello
services:
  web:
    x-holdfast: {go: {dir: %q, package: ./examples/hello}}
    ports: ["18001:8080"]
    stop_grace_period: 1s
    deploy: {replicas: 2, update_config: {monitor: 0s}}
`

func deployHello(t *testing.T, n *netlab.Node) netlab.Result {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), fmt.Appendf(nil, hello, root), 0o600); err != nil {
		t.Fatal(err)
	}
	return n.Try(dir, "up")
}

// TestTakenPorts: an address that another program has is named, by up and by ps, with what to do about it; and what is
// free again is taken.
func TestTakenPorts(t *testing.T) {
	n := netlab.New(t, "taken")
	http, port := n.Listen("0.0.0.0:80"), n.Listen("0.0.0.0:18001")
	n.StartAgent()
	const (
		gateway = "web: the gateway does not run: :80 is taken by another program\n" +
			"  ss -ltnp 'sport = :80' names it; end it, or run the agent with another --http, such as --http :8080\n"
		published = "web: published port is not open: tcp 0.0.0.0:18001 is taken by another program or listener on this node\n" +
			"  ss -ltnp 'sport = :18001' names the program; end it, or publish another port in the Compose file\n"
	)
	up := deployHello(t, n)
	if up.Code != 5 || !strings.HasSuffix(up.Err, "holdfast: hello runs, but not all of it can be reached:\n"+gateway) {
		t.Errorf("up: exit code %d\n%s", up.Code, up.Err)
	}
	http.Close()
	for _, step := range []struct {
		want  string
		after func()
	}{{published, func() { port.Close() }}, {"", func() {}}} {
		n.Eventually(20*time.Second, "ps tells of "+step.want, func() error {
			_, notes, _ := strings.Cut(n.Holdfast(t.TempDir(), "ps", "-p", "hello"), "\n\n")
			if notes != step.want {
				return fmt.Errorf("ps notes %q", notes)
			}
			return nil
		})
		step.after()
	}
	n.Eventually(20*time.Second, "the port answers", func() error {
		resp, err := n.Client().Get("http://127.0.0.1:18001/")
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
}

// TestStopLeavesNothing: an agent that ends where nothing runs takes its helpers with it, and all that they made.
func TestStopLeavesNothing(t *testing.T) {
	n := netlab.New(t, "leaves")
	n.StartAgent()
	if up := deployHello(t, n); up.Code != 0 {
		t.Fatalf("up: exit code %d\n%s", up.Code, up.Err)
	}
	for what, made := range made(t, n) {
		if made == "" && what != "mount" { // containers' mounts are in namespaces of their own
			t.Errorf("while an app runs there is no %s: this test sees nothing", what)
		}
	}
	n.StopAgent()
	if made(t, n)["process"] == "" {
		t.Error("the replicas ended with their agent")
	}
	n.StartAgent()
	n.Holdfast(t.TempDir(), "down", "-p", "hello")
	n.StopAgent()
	for what, left := range made(t, n) {
		if left != "" {
			t.Errorf("left is a %s: %s", what, left)
		}
	}
}

// made lists what an agent makes on a node.
func made(t *testing.T, n *netlab.Node) map[string]string {
	t.Helper()
	out := map[string]string{
		"table": n.Output("nft", "list", "tables"),
		"link":  n.Output("sh", "-c", "ip -o link | grep -v ': lo:' || true"),
		"mount": n.Output("sh", "-c", "grep ' "+n.Dir+"' /proc/self/mountinfo || true"),
		// The first process of the node is the test's own, and so is what asks.
		"process": n.Output("sh", "-c", `for p in /proc/[0-9]*; do [ "${p#/proc/}" -gt 1 ] && [ -n "$(tr -d '\0' <$p/cmdline)" ] && grep -q holdfast $p/cgroup && tr '\0' ' ' <$p/cmdline; done 2>/dev/null || true`),
	}
	var cgroups []string
	for _, pattern := range []string{"/sys/fs/cgroup/holdfast-test/", "/sys/fs/cgroup/*/holdfast-test/"} {
		found, err := filepath.Glob(pattern + filepath.Base(n.Dir))
		if err != nil {
			t.Fatal(err)
		}
		cgroups = append(cgroups, found...)
	}
	out["cgroup"] = strings.Join(cgroups, " ")
	return out
}

// TestUselessDataDirectory: an agent whose data directory cannot be written ends at once and says so.
func TestUselessDataDirectory(t *testing.T) {
	n := netlab.New(t, "useless")
	for name, tt := range map[string]struct {
		options, want string
		code          int
	}{
		"read-only": {"ro", "read-only file system", 1},
		"full":      {"size=4k,nr_inodes=2", "no space left on device", 1},
		"too small": {"size=1m", "is full: ", 5},
	} {
		dir := filepath.Join(n.Dir, strings.ReplaceAll(name, " ", "-"))
		n.Output("mkdir", "-p", dir)
		n.Output("mount", "-t", "tmpfs", "-o", tt.options, "tmpfs", dir)
		if name == "full" {
			n.Output("touch", filepath.Join(dir, "last"))
		}
		cmd := n.Command(netlab.Binary(t), "agent", "--data", dir, "--run", filepath.Join(n.Dir, "run"), "--node", "n",
			"--cgroup-parent", "/holdfast-test/"+filepath.Base(n.Dir), "--http", "off", "--registry", "off")
		ended := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }) //nolint:errcheck // the test fails by it
		out, err := cmd.CombinedOutput()
		ended.Stop()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != tt.code {
			t.Errorf("%s: the agent ended with %v:\n%s", name, err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		last := lines[len(lines)-1]
		if !strings.HasPrefix(last, "holdfast: ") || !strings.Contains(last, tt.want) || !strings.Contains(last, dir) {
			t.Errorf("%s: the last words are %q", name, last)
		}
		if conn, err := net.Dial("unix", n.Socket()); err == nil {
			conn.Close()
			t.Errorf("%s: something answers", name)
		}
		n.Output("umount", "-l", dir)
	}
}
