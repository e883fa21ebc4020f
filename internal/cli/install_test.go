package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeSystemd puts a systemctl in the path that writes down what it was called with, and fails for fail.
func (r *rig) fakeSystemd(fail string) (calls func() string) {
	r.t.Helper()
	dir := r.t.TempDir()
	log := filepath.Join(dir, "log")
	script := "#!/bin/sh\necho \"$*\" >>" + log + "\ncase \"$*\" in '" + fail + "') echo no such luck >&2; exit 3;; esac\n"
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o755); err != nil {
		r.t.Fatal(err)
	}
	r.t.Setenv("PATH", dir)
	r.env.UnitPath = filepath.Join(dir, unitName)
	r.vars["HOLDFAST_SOCKET"] = filepath.Join(dir, "api.sock") // no agent to stop
	return func() string {
		text, err := os.ReadFile(log)
		if err != nil {
			r.t.Fatal(err)
		}
		return string(text)
	}
}

func TestInstallAndUninstall(t *testing.T) {
	r := newRig(t)
	calls := r.fakeSystemd("none")
	out := r.ok("agent", "install", "--data", "/srv/holdfast", "--http", ":8080")
	if !strings.HasPrefix(out, "installed "+r.env.UnitPath) {
		t.Errorf("install printed %q", out)
	}
	unit, err := os.ReadFile(r.env.UnitPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"KillMode=process", "Restart=always", "StartLimitIntervalSec=0", "Delegate=yes", "RequiresMountsFor=/srv/holdfast",
		"After=network-online.target local-fs.target", "WantedBy=multi-user.target",
	} {
		if !strings.Contains(string(unit), "\n"+line+"\n") {
			t.Errorf("the unit lacks %s:\n%s", line, unit)
		}
	}
	if out := r.ok("agent", "uninstall"); !strings.HasPrefix(out, "removed "+r.env.UnitPath) {
		t.Errorf("uninstall printed %q", out)
	}
	const want = "daemon-reload\nstop holdfast.service\nenable --now holdfast.service\ndisable --now holdfast.service\ndaemon-reload\n"
	if got := calls(); got != want {
		t.Errorf("systemctl was called with\n%swant\n%s", got, want)
	}
	got := r.run("agent", "uninstall")
	if got.code != exitNotFound || lastMessage(got.errout) != "no unit is installed at "+r.env.UnitPath {
		t.Errorf("uninstall twice: %d %s", got.code, got.errout)
	}
}

func TestInstallFails(t *testing.T) {
	r := newRig(t)
	r.fakeSystemd("enable --now holdfast.service")
	got := r.run("agent", "install")
	if got.code != exitFailed || lastMessage(got.errout) != "systemctl enable --now holdfast.service: exit status 3: no such luck" {
		t.Errorf("exit code %d: %s", got.code, got.errout)
	}
	t.Setenv("PATH", t.TempDir())
	got = r.run("agent", "install")
	if got.code != exitUnsupported || !strings.HasPrefix(lastMessage(got.errout), "install needs systemd, and systemctl is not here") {
		t.Errorf("without systemd: %d %s", got.code, got.errout)
	}
}

// TestUpLeavesTheUnitAlone: where systemd is to run the agent, up starts none beside it.
func TestUpLeavesTheUnitAlone(t *testing.T) {
	r := newRig(t)
	r.fakeSystemd("none")
	r.project = arcade("nginx:1.27")
	delete(r.vars, "HOLDFAST_SOCKET")
	if _, err := os.Stat(defaultSocket); err == nil {
		t.Skip("an agent runs on this machine")
	}
	if err := os.WriteFile(r.env.UnitPath, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := r.run("up")
	const want = "no agent answers on " + defaultSocket + ", and systemd is to run it: systemctl start holdfast"
	if got.code != exitUnavailable || lastMessage(got.errout) != want {
		t.Errorf("exit code %d: %s", got.code, got.errout)
	}
}
