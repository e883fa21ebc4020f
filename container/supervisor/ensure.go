//go:build linux

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// EnsureRunning returns a client of the supervisor at cfg.Socket. When none answers, it starts one: this same binary
// with the argument "supervisor" and cfg.Args, in a session and cgroup of its own, so that it outlives its starter. One
// of another build is asked to become this one, which it does without a word to its containers.
func EnsureRunning(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	for _, dir := range []string{cfg.Runtime.RunDir, filepath.Dir(cfg.Socket), filepath.Dir(cfg.LogFile)} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("make directory: %w", err)
		}
	}
	unlock, err := lockFile(cfg.Socket + ".lock") // two starters at a time
	if err != nil {
		return nil, err
	}
	defer unlock()
	c, err := dial(cfg.Socket)
	if err == nil {
		return c, c.ensureBuild(ctx)
	}
	return start(ctx, cfg)
}

func lockFile(path string) (unlock func(), err error) {
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock %s: %w", path, err)
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { unix.Close(fd) }, nil
}

// start runs a supervisor and waits until it answers.
func start(ctx context.Context, cfg Config) (*Client, error) {
	log, err := os.OpenFile(cfg.LogFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open supervisor's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", append([]string{"supervisor"}, cfg.Args()...)...)
	cmd.Args[0] = "holdfast"
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if c, err := dial(cfg.Socket); err == nil {
			if _, err := c.hello(ctx); err == nil {
				return c, nil
			}
			c.Close()
		}
		select {
		case err := <-ended:
			return nil, holdfast.Errorf(holdfast.ErrUnavailable, "the supervisor ended at its start (%w): %s", err, lastLine(cfg.LogFile))
		case <-ctx.Done():
			return nil, holdfast.Errorf(holdfast.ErrUnavailable, "the supervisor does not answer: %s", lastLine(cfg.LogFile))
		case <-time.After(wait):
		}
	}
}

const startTimeout = 20 * time.Second

func lastLine(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// binaryID names the build of the running program by its file.
var binaryID = sync.OnceValue(func() string {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &st); err != nil {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d.%d", st.Dev, st.Ino, st.Size, st.Mtim.Nano())
})

// ensureBuild upgrades the supervisor if it is of another build than this process.
func (c *Client) ensureBuild(ctx context.Context) error {
	h, err := c.hello(ctx)
	if err != nil || h.Binary == binaryID() {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own binary: %w", err)
	}
	var there unix.Stat_t
	if err := unix.Stat(exe, &there); err != nil {
		return nil // it was replaced or removed: the next agent is of the new build
	}
	return c.Upgrade(ctx, exe)
}

// Upgrade makes the supervisor execute binary in its process, and waits until it answers again. Containers, their logs
// and sandboxes go on; processes of Exec are killed, and attached clients cut off.
func (c *Client) Upgrade(ctx context.Context, binary string) error {
	before, err := c.hello(ctx)
	if err != nil {
		return err
	}
	if err := c.call(ctx, request{Op: "upgrade", Binary: binary}, nil); err != nil {
		return fmt.Errorf("upgrade supervisor: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		h, err := c.hello(ctx)
		if err == nil && h.Started != before.Started {
			return nil
		}
		if ctx.Err() != nil {
			return holdfast.Errorf(holdfast.ErrUnavailable, "upgrade supervisor: %w", errors.Join(err, context.Cause(ctx)))
		}
		select {
		case <-ctx.Done():
		case <-time.After(upgradeDelay):
		}
	}
}
