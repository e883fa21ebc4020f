// Package netlab runs the real binary on pretend machines: each node has its own network, mount and process
// namespaces, so that killing a process, killing the agent and cutting the power are three different things, and so
// that several tests, and an agent of the host's own, do not meet.
//
// A test binary that uses it calls Main from its TestMain. It needs root, and util-linux for nsenter.
package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// initEnv makes the test binary the first process of a node.
const initEnv = "HOLDFAST_NETLAB_INIT"

// Main runs the tests, or the first process of a node when the binary was started as one.
func Main(m *testing.M) {
	if os.Getenv(initEnv) != "" {
		os.Exit(initMain())
	}
	code := m.Run()
	cleanBinary()
	os.Exit(code)
}

// initMain mounts the node's own /proc and reaps what is orphaned, until it is killed or its parent's pipe closes.
func initMain() int {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fmt.Fprintln(os.Stderr, "netlab init: make mounts private:", err)
		return 1
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		fmt.Fprintln(os.Stderr, "netlab init: mount /proc:", err)
		return 1
	}
	children := make(chan os.Signal, 16)
	signal.Notify(children, unix.SIGCHLD)
	parent := make(chan struct{})
	go func() {
		os.Stdin.Read(make([]byte, 1)) //nolint:errcheck // any end of it is the end
		close(parent)
	}()
	fmt.Println("up")
	for {
		select {
		case <-parent:
			return 0
		case <-children:
			for {
				pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
				if pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}

// Node is a pretend machine. Its data survives PowerOff.
type Node struct {
	T    testing.TB
	Name string
	Dir  string // everything of the node is below it

	init  *exec.Cmd
	stdin *os.File
	ns    netns.NsHandle
	agent *exec.Cmd
	ended chan struct{} // of the agent
}

// New boots a node; it is powered off and removed when the test ends.
func New(t testing.TB, name string) *Node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("netlab needs root: run the tests as root, as CI does")
	}
	// A unix socket's path is short; t.TempDir's is not.
	dir, err := os.MkdirTemp("", "hf")
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{T: t, Name: name, Dir: dir, ns: netns.None()}
	t.Cleanup(func() {
		n.PowerOff()
		n.sweepCgroups()
		if t.Failed() {
			n.dumpLog()
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove node: %v", err)
		}
	})
	n.Boot()
	return n
}

// Boot starts the node's first process, in new namespaces.
func (n *Node) Boot() {
	n.T.Helper()
	in, hold, err := os.Pipe()
	if err != nil {
		n.T.Fatal(err)
	}
	n.stdin = hold
	n.init = exec.Command("/proc/self/exe", "-test.run=^$")
	n.init.Env = append(os.Environ(), initEnv+"=1")
	n.init.Stdin, n.init.Stderr = in, os.Stderr
	n.init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	out, err := n.init.StdoutPipe()
	if err != nil {
		n.T.Fatal(err)
	}
	if err := n.init.Start(); err != nil {
		n.T.Fatalf("boot node %s: %v", n.Name, err)
	}
	in.Close()
	ready := make([]byte, 3)
	if _, err := out.Read(ready); err != nil || string(ready) != "up\n" {
		n.T.Fatalf("boot node %s: %q, %v", n.Name, ready, err)
	}
	if n.ns, err = netns.GetFromPid(n.init.Process.Pid); err != nil {
		n.T.Fatalf("open network namespace: %v", err)
	}
	n.run("ip", "link", "set", "lo", "up")
}

// PowerOff kills everything on the node at once. Off already is no error.
func (n *Node) PowerOff() {
	if n.init == nil {
		return
	}
	n.init.Process.Kill() //nolint:errcheck // gone is what we want
	n.stdin.Close()
	n.init.Wait() //nolint:errcheck // killed
	n.init = nil
	n.ns.Close()
	if n.agent != nil {
		<-n.ended
		n.agent = nil
	}
}

// command runs a program on the node. It dies with the node.
func (n *Node) command(name string, args ...string) *exec.Cmd {
	enter := []string{"-t", fmt.Sprint(n.init.Process.Pid), "-n", "-m", "-p", "-u", "-i", "--", name}
	return exec.Command("nsenter", append(enter, args...)...)
}

func (n *Node) run(name string, args ...string) {
	n.T.Helper()
	if out, err := n.command(name, args...).CombinedOutput(); err != nil {
		n.T.Fatalf("%s %s on %s: %v: %s", name, strings.Join(args, " "), n.Name, err, out)
	}
}

// Output runs a program on the node and returns what it printed; a failure fails the test.
func (n *Node) Output(name string, args ...string) string {
	n.T.Helper()
	var out, errs bytes.Buffer
	cmd := n.command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		n.T.Fatalf("%s %s on %s: %v: %s%s", name, strings.Join(args, " "), n.Name, err, &out, &errs)
	}
	return out.String()
}

// Kill is kill -9 of a process of a container by its pid on the node. It returns the time of the kill.
func (n *Node) Kill(pid int) time.Time {
	n.T.Helper()
	on := n.hostPID(pid)
	at := time.Now()
	if err := unix.Kill(on, unix.SIGKILL); err != nil {
		n.T.Fatalf("kill process %d of %s: %v", pid, n.Name, err)
	}
	return at
}

// hostPID returns the pid on the host of a container's process by its pid on the node.
func (n *Node) hostPID(pid int) int {
	n.T.Helper()
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		text, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue // ended
		}
		_, rest, _ := strings.Cut(string(text), "\nNSpid:")
		line, _, _ := strings.Cut(rest, "\n")
		pids := strings.Fields(line)
		if len(pids) > 1 && pids[1] == strconv.Itoa(pid) && n.owns(dir) {
			host, _ := strconv.Atoi(filepath.Base(dir))
			return host
		}
	}
	n.T.Fatalf("no process %d on %s", pid, n.Name)
	return 0
}

// owns reports whether the process of a directory of the host's /proc is in a container of the node.
func (n *Node) owns(dir string) bool {
	text, err := os.ReadFile(dir + "/cgroup")
	return err == nil && strings.Contains(string(text), n.cgroup()+"/")
}

// StartAgent runs `holdfast agent` with the flags that keep it to the node, and more, until it answers.
func (n *Node) StartAgent(more ...string) {
	n.T.Helper()
	args := append([]string{
		"agent", "--data", n.DataDir(), "--run", n.runDir(), "--node", n.Name,
		"--cgroup-parent", n.cgroup(), "--registry", "127.0.0.1:5050",
	}, more...)
	cmd := n.command(Binary(n.T), args...)
	log, err := os.OpenFile(n.logFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		n.T.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		n.T.Fatalf("start agent: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() //nolint:errcheck // how it ended shows in the test
		close(ended)
	}()
	n.agent, n.ended = cmd, ended
	n.Eventually(30*time.Second, "the agent answers", func() error {
		select {
		case <-ended:
			text, _ := os.ReadFile(n.logFile())
			n.T.Fatalf("the agent ended at its start:\n%s", text)
		default:
		}
		conn, err := net.Dial("unix", n.Socket())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// KillAgent is kill -9 of the agent alone: containers and supervisor go on.
func (n *Node) KillAgent() {
	n.T.Helper()
	pid := n.AgentPID()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		n.T.Fatalf("kill agent: %v", err)
	}
	<-n.ended
	n.agent = nil
}

// StopAgent asks the agent to end and waits for it.
func (n *Node) StopAgent() {
	n.T.Helper()
	if err := unix.Kill(n.AgentPID(), unix.SIGTERM); err != nil {
		n.T.Fatalf("stop agent: %v", err)
	}
	<-n.ended
	n.agent = nil
}

// AgentPID is the agent's process on the host: nsenter's child.
func (n *Node) AgentPID() int {
	n.T.Helper()
	pid := n.agent.Process.Pid
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		n.T.Fatalf("find agent: %v", err)
	}
	var child int
	if _, err := fmt.Sscan(string(text), &child); err != nil {
		return pid // nsenter has executed it
	}
	return child
}

// Result of a command line.
type Result struct {
	Out, Err string
	Code     int
}

// Try runs the CLI against the node's agent, from dir, and returns what happened.
func (n *Node) Try(dir string, args ...string) Result {
	n.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(n.T), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOLDFAST_SOCKET="+n.Socket(), "NO_COLOR=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.T.Fatalf("holdfast %s: %v", strings.Join(args, " "), err)
	}
	return Result{Out: out.String(), Err: errs.String(), Code: cmd.ProcessState.ExitCode()}
}

// Holdfast runs the CLI against the node's agent and returns its output; a failure fails the test.
func (n *Node) Holdfast(dir string, args ...string) string {
	n.T.Helper()
	r := n.Try(dir, args...)
	if r.Code != 0 {
		n.T.Fatalf("holdfast %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Out, r.Err)
	}
	return r.Out
}

// Dial connects from inside the node's network.
func (n *Node) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends in the other namespace
		if err := netns.Set(n.ns); err != nil {
			done <- result{err: err}
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// Client is an HTTP client on the node.
func (n *Node) Client() *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: n.Dial, MaxIdleConnsPerHost: 64}}
}

// Eventually asks until the answer is nil, or fails the test with the last one.
func (n *Node) Eventually(within time.Duration, what string, ask func() error) {
	n.T.Helper()
	deadline := time.Now().Add(within)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			n.T.Fatalf("not within %s: %s: %v", within, what, err)
		}
		time.Sleep(pause)
	}
}

// DataDir is what survives a power cut.
func (n *Node) DataDir() string { return filepath.Join(n.Dir, "data") }

func (n *Node) runDir() string { return filepath.Join(n.Dir, "run") }

func (n *Node) logFile() string { return filepath.Join(n.Dir, "agent.log") }

func (n *Node) cgroup() string { return "/holdfast-test/" + filepath.Base(n.Dir) }

// Socket is the node's API.
func (n *Node) Socket() string { return filepath.Join(n.runDir(), "api.sock") }

func (n *Node) dumpLog() {
	text, _ := os.ReadFile(n.logFile())
	if over := len(text) - 16<<10; over > 0 {
		text = text[over:]
	}
	n.T.Logf("log of the agent of %s:\n%s", n.Name, text)
}

// sweepCgroups removes what a power cut leaves, deepest first.
func (n *Node) sweepCgroups() {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + n.cgroup())
	for _, root := range append(roots, "/sys/fs/cgroup"+n.cgroup()) {
		var dirs []string
		filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error { //nolint:errcheck // gone is fine
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			unix.Rmdir(dirs[i]) //nolint:errcheck // the next test's sweep is not ours
		}
	}
}

var (
	buildOnce sync.Once
	built     string
	buildErr  error
)

// Binary is the product, built once for all tests of the process, or what HOLDFAST_BIN names.
func Binary(t testing.TB) string {
	t.Helper()
	if named := os.Getenv("HOLDFAST_BIN"); named != "" {
		return named
	}
	buildOnce.Do(func() {
		dir, err := os.MkdirTemp("", "hfbin")
		if err != nil {
			buildErr = err
			return
		}
		built = filepath.Join(dir, "holdfast")
		cmd := exec.Command("go", "build", "-o", built, "github.com/holdfast/holdfast/cmd/holdfast")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			buildErr = fmt.Errorf("build holdfast: %w: %s", err, out)
		}
	})
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return built
}

func cleanBinary() {
	if built != "" {
		os.RemoveAll(filepath.Dir(built))
	}
}
