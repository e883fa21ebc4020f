package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/internal/netlab"
)

// wantReady fails the run unless n replicas are ready, else the figure would be of something else. It returns their image.
func wantReady(t netlab.TB, node *netlab.Node, n int) string {
	t.Helper()
	client := api.Dial(node.Socket())
	defer client.Close()
	web, err := client.Service(t.Context(), "up", "web")
	if err != nil || web.Ready != n {
		t.Fatalf("%d of %d replicas are ready, %v", web.Ready, n, err)
	}
	return web.Image
}

// peer is another program that runs containers, on a node of its own.
type peer struct {
	name    string
	missing string // why it is left out
	node    *netlab.Node
	args    []string // before the verb
	run     []string // after "run -d"
}

// buildServer builds the server of the measurements and returns a tar of a root file system with it.
func buildServer(t netlab.TB) string {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "server"), serverPackage)
	build.Dir, build.Env = netlab.Repository(t), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build server: %v: %s", err, out)
	}
	archive := filepath.Join(dir, "server.tar")
	if out, err := exec.Command("tar", "-C", dir, "-cf", archive, "server").CombinedOutput(); err != nil {
		t.Fatalf("pack server: %v: %s", err, out)
	}
	return archive
}

func podman(t netlab.TB, server string) peer {
	p := peer{name: "podman"}
	if _, err := exec.LookPath("podman"); err != nil {
		p.missing = err.Error()
		return p
	}
	p.node = netlab.New(t, "podman")
	p.node.Output("mount", "-t", "tmpfs", "tmpfs", "/dev/shm") // it keeps locks there, for all of the machine
	p.args = []string{
		"podman", "--root", filepath.Join(p.node.Dir, "podman"), "--runroot", filepath.Join(p.node.Dir, "podman-run"),
		"--cgroup-manager", "cgroupfs", "--events-backend", "none",
	}
	// It cannot raise limits where CAP_SYS_RESOURCE is missing, and crun refuses a machine with both versions of cgroups.
	p.args, p.run = append(p.args, "--runtime", "runc"), []string{"--ulimit", "host", "--network", "none"}
	p.ask(t, "import", server, "server")
	return p
}

func docker(t netlab.TB, server string) peer {
	p := peer{name: "docker"}
	if _, err := exec.LookPath("dockerd"); err != nil {
		p.missing = err.Error()
		return p
	}
	p.node = netlab.New(t, "docker")
	socket := "unix://" + filepath.Join(p.node.Dir, "docker.sock")
	var log bytes.Buffer
	daemon := p.node.Command("dockerd", "-H", socket, "--data-root", filepath.Join(p.node.Dir, "docker"),
		"--exec-root", filepath.Join(p.node.Dir, "docker-run"), "--pidfile", filepath.Join(p.node.Dir, "docker.pid"),
		"--cgroup-parent", "/holdfast-test/"+filepath.Base(p.node.Dir))
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		daemon.Wait() //nolint:errcheck // its log tells
		close(ended)
	}()
	p.args = []string{"docker", "-H", socket}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		select {
		case <-ended:
			p.missing = "dockerd does not start here: " + lastLine(log.String())
			return p
		default:
		}
		if p.node.Command(p.args[0], append(p.args[1:], "info")...).Run() == nil {
			break
		}
		if time.Now().After(deadline) {
			p.missing = "dockerd does not answer"
			return p
		}
	}
	p.ask(t, "import", server, "server")
	return p
}

func lastLine(text string) string {
	lines := bytes.Split(bytes.TrimSpace([]byte(text)), []byte("\n"))
	return string(lines[len(lines)-1])
}

func (p peer) ask(t netlab.TB, args ...string) string {
	t.Helper()
	return p.node.Output(p.args[0], append(p.args[1:len(p.args):len(p.args)], args...)...)
}

// contenders are the peer with one and with four calls at a time.
func (p peer) contenders(t netlab.TB, n int) []*contender {
	if p.missing != "" {
		fmt.Printf("%s is left out: %s\n", p.name, p.missing)
		return nil
	}
	var all []*contender
	for _, atOnce := range []int{1, 4} {
		all = append(all, &contender{name: fmt.Sprintf("%s run -d, %d at a time", p.name, atOnce), n: n, start: func() time.Duration {
			began := time.Now()
			names := p.start(t, n, atOnce)
			took := time.Since(began)
			p.ask(t, append([]string{"rm", "-f"}, names...)...)
			return took
		}})
	}
	return all
}

// start calls run -d n times, so many of them at a time, and returns the containers' names.
func (p peer) start(t netlab.TB, n, atOnce int) (names []string) {
	turns, failed := make(chan string), make(chan error, n)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for name := range turns {
				args := append([]string{"run", "-d", "--name", name}, p.run...)
				cmd := p.node.Command(p.args[0], append(append(p.args[1:len(p.args):len(p.args)], args...), "server", "/server")...)
				if out, err := cmd.CombinedOutput(); err != nil {
					failed <- fmt.Errorf("%s run: %w: %s", p.name, err, out)
				}
			}
		})
	}
	for i := range n {
		names = append(names, fmt.Sprintf("bench-%d", i))
		turns <- names[i]
	}
	close(turns)
	workers.Wait()
	close(failed)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return names
}
