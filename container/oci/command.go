//go:build linux

package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// command is one call of the program.
type command struct {
	args                  []string
	stdin, stdout, stderr *os.File // nil: /dev/null; stderr nil: kept for the error
}

// call runs the program. Its complaint becomes the error.
func (r *Runtime) call(ctx context.Context, c command) error {
	log, err := os.CreateTemp(r.path("run"), ".log-*")
	if err != nil {
		return fmt.Errorf("make log of %s: %w", r.cfg.Program, err)
	}
	log.Close()
	defer os.Remove(log.Name())
	args := append([]string{"--root", r.path("run"), "--log", log.Name(), "--log-format", "json"}, c.args...)
	cmd := exec.CommandContext(ctx, r.cfg.Program, args...)
	cmd.Dir = "/"
	var complaint bytes.Buffer
	// Files are given as such: a pipe of os/exec would stay open in the container.
	if c.stdin != nil {
		cmd.Stdin = c.stdin
	}
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	if c.stderr != nil {
		cmd.Stderr = c.stderr
	} else if c.stdout == nil {
		cmd.Stderr = &complaint
	}
	if err := r.run(cmd); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return holdfast.Errorf(holdfast.ErrInvalid, "%s %s: %s (%w)", cmd.Path, c.args[0], lastWords(log.Name(), complaint.String()), err)
	}
	return nil
}

// lastWords finds the reason in the program's log of JSON lines.
func lastWords(log, fallback string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return strings.TrimSpace(fallback)
	}
	words := strings.TrimSpace(fallback)
	for line := range bytes.Lines(text) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && (entry.Level == "error" || entry.Level == "fatal") {
			words = entry.Msg
		}
	}
	return words
}

// run starts cmd and waits for it.
func (r *Runtime) run(cmd *exec.Cmd) error {
	born := r.cfg.Children.Birth()
	err := r.begin(cmd)
	if err == nil {
		r.cfg.Children.Add(cmd.Process.Pid)
	}
	born()
	if err != nil {
		return err
	}
	defer r.cfg.Children.Remove(cmd.Process.Pid)
	return cmd.Wait()
}

// begin starts cmd; where the unified hierarchy must be hidden, from a thread that has a mount namespace of its own.
func (r *Runtime) begin(cmd *exec.Cmd) error {
	if !r.hidden {
		return cmd.Start()
	}
	return onThread(func() error {
		if err := hideUnified(); err != nil {
			return err
		}
		return cmd.Start()
	})
}

func hideUnified() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts slaves: %w", err)
	}
	if err := unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("hide the unified cgroup hierarchy: %w", err)
	}
	return nil
}
