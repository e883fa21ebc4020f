package netlab

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

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
