package netlab

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// StartAgent runs `holdfast agent` with the flags that keep it to the node, and more, until it answers.
func (n *Node) StartAgent(more ...string) {
	n.T.Helper()
	args := append([]string{
		"agent", "--data", n.DataDir(), "--run", n.run, "--node", n.Name,
		"--cgroup-parent", n.cgroup(), "--registry", "127.0.0.1:5050",
	}, more...)
	cmd := n.Command(Binary(n.T), args...)
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
