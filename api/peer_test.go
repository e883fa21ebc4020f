package api_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// connectEnv makes the test binary a program that asks the agent on a socket once and says how it went.
const connectEnv = "HOLDFAST_TEST_CONNECT"

func TestMain(m *testing.M) {
	if socket := os.Getenv(connectEnv); socket != "" {
		os.Exit(connectOnce(socket))
	}
	os.Exit(m.Run())
}

func connectOnce(socket string) int {
	hc := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	resp, err := hc.Get("http://agent/v1/info")
	if err != nil {
		os.Stdout.WriteString("refused") //nolint:errcheck // seen by the test
		return 0
	}
	defer resp.Body.Close()
	os.Stdout.WriteString("answered") //nolint:errcheck // seen by the test
	return 0
}

func connectAs(t *testing.T, uid uint32, socket string) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	check(t, err)
	dir, err := os.MkdirTemp("", "connect")
	check(t, err)
	defer os.RemoveAll(dir)
	check(t, os.Chmod(dir, 0o755))
	program := dir + "/connect"
	check(t, os.WriteFile(program, self, 0o755))
	cmd := exec.Command(program)
	cmd.Env = []string{connectEnv + "=" + socket}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("connect as %d: %v: %s", uid, err, out)
	}
	return strings.TrimSpace(string(out))
}
