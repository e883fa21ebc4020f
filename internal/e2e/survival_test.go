package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAgentMayBeKilledUnderLoad(t *testing.T) {
	a := deploy(t, started(t), serverApp(t, 3, `VERSION=one`, ""))
	before := a.waitReady("web", 3)
	a.underLoad(200, "/slow?ms=10", func() {
		for range 3 {
			a.KillAgent()
			a.StartAgent()
			a.waitReady("web", 3)
		}
		a.StopAgent()
		a.StartAgent()
	})
	after := a.waitReady("web", 3)
	for i := range before {
		if before[i].ID != after[i].ID || before[i].Status.PID != after[i].Status.PID {
			t.Errorf("replica %s (pid %d) became %s (pid %d)", before[i].ID, before[i].Status.PID, after[i].ID, after[i].Status.PID)
		}
	}
}

func TestEverythingComesBackAfterAPowerCut(t *testing.T) {
	a := deploy(t, started(t), serverApp(t, 3, `VERSION=one`, ""))
	before := a.waitReady("web", 3)
	a.run("scale", "web=4")
	a.PowerOff()
	a.Boot()
	a.StartAgent()
	after := a.waitReady("web", 4)
	for _, r := range after {
		for _, old := range before {
			if r.ID == old.ID {
				t.Errorf("replica %s is said to have survived", r.ID)
			}
		}
	}
	a.mustGet("/")
}

func TestContainersSurviveTheSupervisor(t *testing.T) {
	a := deploy(t, started(t), serverApp(t, 2, `VERSION=one`, ""))
	before := a.waitReady("web", 2)
	a.underLoad(100, "/", func() {
		pid := a.child("supervisor")
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		a.Eventually(20*time.Second, "a new supervisor runs", func() error {
			if now := a.findChild("supervisor"); now == 0 || now == pid {
				return errors.New("not yet")
			}
			return nil
		})
	})
	after := a.waitReady("web", 2)
	for i := range before {
		if before[i].Status.PID != after[i].Status.PID {
			t.Errorf("replica %s was restarted", before[i].ID)
		}
	}
	a.Kill(after[0].Status.PID)
	a.waitReplaced(after[0], 2)
}

func (a app) child(command string) int {
	a.T.Helper()
	pid := a.findChild(command)
	if pid == 0 {
		a.T.Fatalf("no process `holdfast %s` of this node", command)
	}
	return pid
}

// findChild returns the pid, on the host, of the node's process `holdfast <command>`, or 0.
func (a app) findChild(command string) int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		args := strings.Split(string(text), "\x00")
		if len(args) > 2 && args[1] == command && strings.Contains(string(text), a.Dir) {
			var pid int
			if _, err := fmt.Sscanf(path, "/proc/%d/cmdline", &pid); err == nil {
				return pid
			}
		}
	}
	return 0
}
