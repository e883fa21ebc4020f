package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container/linux"
	"github.com/holdfast/holdfast/container/supervisor"
	"github.com/holdfast/holdfast/network"
)

// gatewayKeeper keeps the node's gateway process running and of this build.
type gatewayKeeper struct {
	cfg    Config
	client *http.Client
	log    *slog.Logger
}

// keepEvery is how often the node's other processes are asked whether they are there.
const keepEvery = time.Second

// keeper calls ensure again and again, so that a process that died is soon there again.
type keeper struct {
	what   string
	ensure func(context.Context) error
	tried  chan struct{} // closed after the first time, whatever came of it
	log    *slog.Logger
	// review is told what came of each try, instead of the log; may be nil.
	review func(context.Context, error)
}

// run returns ctx's cause when ctx has ended.
func (k keeper) run(ctx context.Context) error {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	failing := false
	for first := true; ; first = false {
		err := k.ensure(ctx)
		switch {
		case ctx.Err() != nil:
		case k.review != nil:
			k.review(ctx, err)
		case err != nil && !failing:
			k.log.Error("keep process running", "process", k.what, "err", err)
		}
		failing = err != nil
		if first {
			close(k.tried)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// endIdle ends the gateway and the supervisor, and takes the node's network back: an agent that ends on a node where
// nothing runs leaves nothing behind but its data.
func (d *process) endIdle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if _, pid, err := (gatewayKeeper{d.cfg, d.gateway, d.cfg.Log}).ask(ctx); err == nil {
		d.end(ctx, "gateway", pid)
	}
	parked, err := d.runtime.List(ctx)
	for _, box := range parked {
		err = errors.Join(err, d.runtime.Remove(ctx, box.ID))
	}
	if err != nil {
		d.cfg.Log.Warn("remove parked sandboxes", "err", err)
	}
	if pid, err := d.runtime.PID(ctx); err == nil {
		d.end(ctx, "supervisor", pid)
	}
	if err := network.Remove(d.cfg.network()); err != nil {
		d.cfg.Log.Warn("take the node's network back", "err", err)
	}
	if err := removeCgroups(d.cfg.CgroupParent); err != nil {
		d.cfg.Log.Warn("remove cgroups", "err", err)
	}
}

// removeCgroups removes the cgroup parent with all below it, in each hierarchy. What still holds processes, which are
// not ours, stays.
func removeCgroups(parent string) error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*" + parent)
	if err != nil {
		return fmt.Errorf("find cgroups: %w", err)
	}
	var errs []error
	for _, root := range append(roots, "/sys/fs/cgroup"+parent) {
		var dirs []string
		_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("remove %s: %w", dir, err))
			}
		}
	}
	return errors.Join(errs...)
}

// end asks a process to end and waits until it has.
func (d *process) end(ctx context.Context, what string, pid int) {
	if err := endProcess(ctx, pid); err != nil {
		d.cfg.Log.Warn("end process", "process", what, "pid", pid, "err", err)
	}
}

// endProcess sends SIGTERM and waits. A process that is gone is no error.
func endProcess(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil {
		return fmt.Errorf("signal: %w", err)
	}
	const pause = 50 // milliseconds between two looks at ctx
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, pause)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for its end: %w", err)
		case n > 0:
			return nil
		}
	}
	return context.Cause(ctx)
}

// ensureSupervisor starts a supervisor when none answers.
func (d *process) ensureSupervisor(ctx context.Context) error {
	client, err := supervisor.EnsureRunning(ctx, d.cfg.supervisor())
	if err != nil {
		return err
	}
	return client.Close()
}

func (cfg Config) supervisor() supervisor.Config {
	return supervisor.Config{Runtime: linux.Config{
		Dir: cfg.dir("containers"), RunDir: filepath.Join(cfg.RunDir, "containers"), CgroupParent: cfg.CgroupParent, Log: cfg.Log,
	}}
}

// ensure starts a gateway when none answers, and replaces one of another build.
func (k gatewayKeeper) ensure(ctx context.Context) error {
	version, pid, err := k.ask(ctx)
	switch {
	case err != nil:
		return k.start(ctx)
	case version != Version:
		k.log.Info("replace the gateway of another build", "pid", pid, "build", version)
		if err := unix.Kill(pid, unix.SIGTERM); err != nil {
			return fmt.Errorf("end old gateway: %w", err)
		}
		return nil // the next round starts the new one
	}
	return nil
}

func (k gatewayKeeper) ask(ctx context.Context) (version string, pid int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway/version", nil)
	if err != nil {
		return "", 0, fmt.Errorf("make request: %w", err)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		return "", 0, fmt.Errorf("ask gateway: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 256))
	if err != nil {
		return "", 0, fmt.Errorf("ask gateway: %w", err)
	}
	version, number, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	pid, err = strconv.Atoi(number)
	return version, pid, err
}

// start runs `holdfast gateway` detached: it must outlive this process. It returns when the gateway answers or ended.
func (k gatewayKeeper) start(ctx context.Context) error {
	logPath := k.cfg.gatewayLog()
	log, err := os.OpenFile(logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", k.args()...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start gateway: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		if _, _, err := k.ask(ctx); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("it ended at its start (%w): %s", err, strings.TrimPrefix(lastLineOf(logPath), "holdfast: "))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

func (k gatewayKeeper) args() []string {
	args := []string{"gateway", "--data", k.cfg.DataDir, "--run", k.cfg.RunDir, "--http", k.cfg.HTTP, "--hold", k.cfg.HoldFor.String()}
	args = append(args, k.cfg.tlsArgs()...)
	if k.cfg.AccessLog {
		args = append(args, "--access-log")
	}
	return args
}

func lastLineOf(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}
