package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/apitest"
)

// stopEnv makes the test binary an agent whose API is at the path that it holds.
const stopEnv = "HOLDFAST_TEST_AGENT"

// TestStandInAgent is no test: it is the process that TestAgentStop stops.
func TestStandInAgent(t *testing.T) {
	socket := os.Getenv(stopEnv)
	if socket == "" {
		return
	}
	srv, err := api.New(apitest.Start(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	l, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("up\n") //nolint:errcheck // seen by the test
	srv.Serve(t.Context(), l)     //nolint:errcheck // until it is killed
}

// TestAgentStop: the process that is stopped is the one that listens, whatever PID it names (the stand-in says 42).
func TestAgentStop(t *testing.T) {
	r := newRig(t)
	socket := filepath.Join(t.TempDir(), "api.sock")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestStandInAgent$")
	cmd.Env = append(os.Environ(), stopEnv+"="+socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	r.vars["HOLDFAST_SOCKET"] = socket
	if out := r.ok("agent", "stop"); out != "the agent has ended\n" {
		t.Errorf("stop printed %q", out)
	}
	if err := cmd.Wait(); err == nil || err.Error() != "signal: terminated" {
		t.Errorf("the agent ended with %v", err)
	}
	if got := r.run("agent", "stop"); got.code != exitUnavailable {
		t.Errorf("stop of none: %d %s", got.code, got.errout)
	}
}
