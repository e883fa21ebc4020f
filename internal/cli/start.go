package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// startTime bounds the wait for a new agent to answer. A store that replays a long log may take seconds.
const startTime = 60 * time.Second

// ensureAgent makes sure that an agent answers: one that is not there is started in the background.
func (a *app) ensureAgent(ctx context.Context) error {
	_, err := a.api().Info(ctx)
	if !errors.Is(err, holdfast.ErrUnavailable) {
		return err
	}
	if _, err := os.Stat(a.unitPath()); err == nil && a.socketPath() == defaultSocket {
		return holdfast.Errorf(holdfast.ErrUnavailable, "no agent answers on %s, and systemd is to run it: systemctl start holdfast", a.socketPath())
	}
	return a.startAgent(ctx)
}

// startAgent starts an agent whose socket is ours, and waits until it answers.
func (a *app) startAgent(ctx context.Context) error {
	socket := a.socketPath()
	if filepath.Base(socket) != "api.sock" {
		return holdfast.Errorf(holdfast.ErrUnavailable, "no agent answers on %s: start one with holdfast agent", socket)
	}
	run := filepath.Dir(socket)
	logFile := filepath.Join(run, "agent.log")
	if err := os.MkdirAll(run, 0o755); err != nil {
		return fmt.Errorf("make the run directory: %w", err)
	}
	spawned, err := a.Spawn([]string{"agent", "--run", run}, logFile)
	if err != nil {
		return fmt.Errorf("start an agent: %w", err)
	}
	a.note("No agent was running: started one in the background (pid %d, log %s).\n"+
		"To have it start with the machine: holdfast agent install", spawned.PID, logFile)
	return a.awaitAgent(ctx, spawned, logFile)
}

// awaitAgent tries to connect until the agent answers, has ended or takes too long.
func (a *app) awaitAgent(ctx context.Context, spawned Spawned, logFile string) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	client := api.Dial(a.socketPath())
	defer client.Close()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		_, err := client.Info(ctx)
		if err == nil {
			return nil
		}
		retry := time.NewTimer(wait)
		select {
		case end := <-spawned.Done:
			retry.Stop()
			return holdfast.Errorf(holdfast.ErrUnavailable, "the agent ended at once (%v); its last words in %s:\n%s", end, logFile, lastLines(logFile, 5))
		case <-ctx.Done():
			retry.Stop()
			return holdfast.Errorf(holdfast.ErrUnavailable, "the agent did not answer within %s: %w; see %s", startTime, err, logFile)
		case <-retry.C:
		}
	}
}

// lastLines is the end of a file.
func lastLines(path string, n int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}

// unitPath is where the systemd unit is installed.
const unitPath = "/etc/systemd/system/holdfast.service"

func (a *app) unitPath() string { return cmp.Or(a.UnitPath, unitPath) }

// advise adds to an error's text what to do about it.
func (a *app) advise(err error) string {
	text := err.Error()
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	if errors.Is(err, holdfast.ErrUnavailable) && strings.HasPrefix(text, "no agent answers on") && !strings.Contains(text, ": ") {
		text += ": holdfast up starts one, holdfast agent runs one in the foreground"
	}
	return text
}
