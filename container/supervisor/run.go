//go:build linux

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container/linux"
)

// Serve runs a supervisor in this process until ctx ends; containers go on. ErrConflict: there is one already.
// Upgrade requests are refused: only Run has a process of its own to replace.
func Serve(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	l, err := listen(cfg.Socket)
	if err != nil {
		return err
	}
	defer os.Remove(cfg.Socket)
	return serve(ctx, cfg, l, func(string) error {
		return holdfast.Errorf(holdfast.ErrUnsupported, "this supervisor cannot upgrade itself: it is part of another process")
	})
}

func serve(ctx context.Context, cfg Config, l *net.UnixListener, upgrade func(string) error) error {
	defer l.Close()
	rt, err := openRuntime(cfg)
	if err != nil {
		return err
	}
	s := &server{runtime: rt, log: cfg.Runtime.Log, upgrade: upgrade, started: time.Now()}
	go s.reap(ctx, rt.own)
	return errors.Join(s.serve(ctx, l), rt.Close())
}

// listen binds the socket. What is left there by a dead supervisor is replaced; a living one is ErrConflict, found by
// asking, and against a race by the lock on the runtime's directory.
func listen(socket string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o711); err != nil {
		return nil, fmt.Errorf("make directory of socket: %w", err)
	}
	if c, err := dial(socket); err == nil {
		c.Close()
		return nil, holdfast.Errorf(holdfast.ErrConflict, "a supervisor answers at %s already", socket)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", socket, err)
	}
	l.SetUnlinkOnClose(false) // it may have a successor
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("protect socket: %w", err)
	}
	return l, nil
}

// listenEnv names the descriptor of the socket that a supervisor gets from the one whose process it took.
const listenEnv = "HOLDFAST_SUPERVISOR_LISTEN"

// Run is the supervisor's process, with the arguments of Config.Args. It returns nil when ctx ended.
func Run(ctx context.Context, args []string) error {
	cfg, err := ParseArgs(args)
	if err != nil {
		return err
	}
	cfg.Runtime.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := settle(cfg); err != nil {
		return err
	}
	sock, err := inherit()
	if sock == nil && err == nil {
		sock, err = bind(cfg.Socket)
	}
	if err != nil {
		return err
	}
	defer sock.Close()
	for {
		next, err := runOnce(ctx, cfg, sock)
		if err != nil || next == "" {
			return errors.Join(err, os.Remove(cfg.Socket))
		}
		cfg.Runtime.Log.Info("upgrade", "binary", next)
		err = replace(next, sock)
		cfg.Runtime.Log.Error("upgrade", "binary", next, "err", err) // this one goes on
	}
}

// bind returns the listening socket as a file, which outlives listeners made of it.
func bind(socket string) (*os.File, error) {
	l, err := listen(socket)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("keep socket: %w", err)
	}
	return f, nil
}

// settle makes this process fit to be the parent of all.
func settle(cfg Config) error {
	const frugal = 50 // the heap is small: collecting it twice as often costs nothing
	debug.SetGCPercent(frugal)
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become reaper of orphans: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// Best effort: it needs CAP_SYS_RESOURCE.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0); err != nil {
		cfg.Runtime.Log.Debug("protect from the OOM killer", "err", err)
	}
	debug.FreeOSMemory()
	return linux.EnterCgroup(cfg.Runtime.CgroupParent, "supervisor")
}

// inherit returns the listening socket of this process's former program, if there was one.
func inherit() (*os.File, error) {
	text := os.Getenv(listenEnv)
	if text == "" {
		return nil, nil
	}
	os.Unsetenv(listenEnv)
	fd, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", listenEnv, err)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "supervisor.sock"), nil
}

// runOnce serves until ctx ends or an upgrade is asked for, and returns the path of its binary.
func runOnce(ctx context.Context, cfg Config, sock *os.File) (next string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := net.FileListener(sock)
	if err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	var once sync.Once
	err = serve(ctx, cfg, l.(*net.UnixListener), func(binary string) error {
		if err := unix.Access(binary, unix.X_OK); err != nil {
			return holdfast.Errorf(holdfast.ErrInvalid, "upgrade to %s: %w", binary, err)
		}
		once.Do(func() {
			next = binary
			time.AfterFunc(upgradeDelay, cancel)
		})
		return nil
	})
	return next, err
}

// upgradeDelay lets the answer to the request get out.
const upgradeDelay = 10 * time.Millisecond

// replace executes binary in this process. It only returns when that failed. Clients that connect meanwhile wait in
// the socket's queue.
func replace(binary string, sock *os.File) error {
	fd, err := unix.FcntlInt(sock.Fd(), unix.F_DUPFD, 0) // open across execve
	if err != nil {
		return fmt.Errorf("keep socket: %w", err)
	}
	env := append(os.Environ(), listenEnv+"="+strconv.Itoa(fd))
	err = syscall.Exec(binary, os.Args, env)
	unix.Close(fd)
	return fmt.Errorf("execute %s: %w", binary, err)
}
