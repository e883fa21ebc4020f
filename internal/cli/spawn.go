package cli

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// SpawnSelf starts this program again with args, detached from the terminal and the session, its output going to the end
// of logFile.
func SpawnSelf(args []string, logFile string) (Spawned, error) {
	log, err := os.OpenFile(logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return Spawned{}, fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return Spawned{}, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return Spawned{}, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return Spawned{PID: cmd.Process.Pid, Done: done}, nil
}
