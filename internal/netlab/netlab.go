// Package netlab runs the real binary on pretend machines: each node has its own network, mount and process
// namespaces, so that killing a process, killing the agent and cutting the power are three different things, and so
// that several tests, and an agent of the host's own, do not meet.
//
// A test binary that uses it calls Main from its TestMain, a program Program. It needs root, and util-linux for nsenter.
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

// TB is what a node needs of a test; *testing.T is one.
type TB interface {
	Helper()
	Log(args ...any)
	Logf(format string, args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(f func())
	TempDir() string
	Context() context.Context
}

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
	T    TB
	Name string
	Dir  string // what survives PowerOff is below it

	run   string // what does not
	init  *exec.Cmd
	stdin *os.File
	nsMu  *sync.Mutex // guards ns: clients dial while the power is cut
	ns    netns.NsHandle
	agent *exec.Cmd
	ended chan struct{} // of the agent
}

// New boots a node; it is powered off and removed when the test ends.
func New(t TB, name string) *Node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("netlab needs root: run the tests as root, as CI does")
	}
	// A unix socket's path is short; t.TempDir's is not. What a power cut empties is memory, as /run is on a machine.
	dir, err := os.MkdirTemp("", "hf")
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{T: t, Name: name, Dir: dir, run: filepath.Join("/dev/shm", filepath.Base(dir)), ns: netns.None(), nsMu: new(sync.Mutex)}
	t.Cleanup(func() {
		n.PowerOff()
		n.sweepCgroups()
		if t.Failed() {
			n.dumpLog()
		}
		if err := errors.Join(os.RemoveAll(n.run), os.RemoveAll(dir)); err != nil {
			t.Errorf("remove node: %v", err)
		}
	})
	n.Boot()
	return n
}

// Boot starts the node's first process, in new namespaces; its run directory is empty.
func (n *Node) Boot() {
	n.T.Helper()
	if err := errors.Join(os.RemoveAll(n.run), os.MkdirAll(n.run, 0o700)); err != nil {
		n.T.Fatalf("boot node %s: %v", n.Name, err)
	}
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
	n.nsMu.Lock()
	defer n.nsMu.Unlock()
	if n.ns, err = netns.GetFromPid(n.init.Process.Pid); err != nil {
		n.T.Fatalf("open network namespace: %v", err)
	}
	n.must("ip", "link", "set", "lo", "up")
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
	n.nsMu.Lock()
	n.ns.Close()
	n.nsMu.Unlock()
	if n.agent != nil {
		<-n.ended
		n.agent = nil
	}
}

// Command is a program to run on the node. It dies with the node.
func (n *Node) Command(name string, args ...string) *exec.Cmd {
	enter := []string{"-t", fmt.Sprint(n.init.Process.Pid), "-n", "-m", "-p", "-u", "-i", "--", name}
	return exec.Command("nsenter", append(enter, args...)...)
}

func (n *Node) must(name string, args ...string) {
	n.T.Helper()
	if out, err := n.Command(name, args...).CombinedOutput(); err != nil {
		n.T.Fatalf("%s %s on %s: %v: %s", name, strings.Join(args, " "), n.Name, err, out)
	}
}

// Output runs a program on the node and returns what it printed; a failure fails the test.
func (n *Node) Output(name string, args ...string) string {
	n.T.Helper()
	var out, errs bytes.Buffer
	cmd := n.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		n.T.Fatalf("%s %s on %s: %v: %s%s", name, strings.Join(args, " "), n.Name, err, &out, &errs)
	}
	return out.String()
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
		if err := n.enterNetwork(); err != nil {
			done <- result{err: err}
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// enterNetwork puts the calling thread into the node's network namespace.
func (n *Node) enterNetwork() error {
	n.nsMu.Lock()
	defer n.nsMu.Unlock()
	return netns.Set(n.ns)
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

// RunDir is what a power cut empties.
func (n *Node) RunDir() string { return n.run }

func (n *Node) logFile() string { return filepath.Join(n.Dir, "agent.log") }

func (n *Node) cgroup() string { return "/holdfast-test/" + filepath.Base(n.Dir) }

// Socket is the node's API.
func (n *Node) Socket() string { return filepath.Join(n.run, "api.sock") }

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
