package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

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

var (
	buildOnce sync.Once
	built     string
	buildErr  error
)

// Binary is the product, built once for all tests of the process, or what HOLDFAST_BIN names.
func Binary(t TB) string {
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

// Repository is the root of the module, where the examples are.
func Repository(t TB) string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/holdfast/holdfast").Output()
	if err != nil {
		t.Fatalf("find the module: %v", err)
	}
	return strings.TrimSpace(string(dir))
}
