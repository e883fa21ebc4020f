//go:build linux

package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// server answers clients.
type server struct {
	runtime container.Runtime
	log     *slog.Logger
	started time.Time
	// upgrade is called with the path of the new binary when a client asked for it. It does not wait.
	upgrade func(binary string) error

	conns sync.WaitGroup
}

// serve accepts clients until ctx ends, and then waits until those it has are done.
func (s *server) serve(ctx context.Context, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer s.conns.Wait()
	for {
		conn, err := l.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ECONNABORTED) {
			s.log.Warn("accept client", "err", err)
			continue
		}
		if err != nil {
			return err
		}
		s.conns.Go(func() { s.client(ctx, conn) })
	}
}

// client serves one connection.
func (s *server) client(ctx context.Context, conn *net.UnixConn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	if err := checkPeer(conn); err != nil {
		s.log.Warn("refuse client", "err", err)
		return
	}
	w := &wire{conn: conn}
	for {
		var req request
		files, err := w.read(&req)
		closeFiles(files)
		if err == nil {
			err = s.answer(ctx, w, req)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, errDone) && ctx.Err() == nil {
				s.log.Warn("serve client", "op", req.Op, "err", err)
			}
			return
		}
	}
}

// errDone ends a connection that was turned into a stream.
var errDone = errors.New("done")

// checkPeer lets only root and our own user in.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil {
		return cerr
	}
	if err != nil {
		return err
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return holdfast.Errorf(holdfast.ErrInvalid, "user %d (process %d) may not use the supervisor", cred.Uid, cred.Pid)
	}
	return nil
}

// answer performs one request.
func (s *server) answer(ctx context.Context, w *wire, req request) error {
	switch req.Op {
	case "watch":
		return s.watch(ctx, w)
	case "exec", "attach":
		return s.process(ctx, w, req)
	}
	result, err := s.call(ctx, req)
	if err != nil {
		return w.write(reply{Err: encodeError(err)})
	}
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	return w.write(reply{Result: text})
}

// call performs the requests that have one result.
func (s *server) call(ctx context.Context, req request) (any, error) {
	switch req.Op {
	case "hello":
		return hello{PID: os.Getpid(), Binary: binaryID(), Started: s.started.UnixNano()}, nil
	case "upgrade":
		return nil, s.upgrade(req.Binary)
	case "park":
		if req.Park == nil {
			return nil, errNoArgument
		}
		return s.runtime.Park(ctx, *req.Park)
	case "start":
		if req.Spec == nil {
			return nil, errNoArgument
		}
		return s.runtime.Start(ctx, *req.Spec)
	case "list":
		return s.runtime.List(ctx)
	case "stats":
		return s.runtime.Stats(ctx, req.ID)
	}
	return nil, s.act(ctx, req)
}

// act performs the requests that have no result.
func (s *server) act(ctx context.Context, req request) error {
	switch req.Op {
	case "signal":
		return s.runtime.Signal(ctx, req.ID, syscall.Signal(req.Signal))
	case "kill":
		return s.runtime.Kill(ctx, req.ID)
	case "remove":
		return s.runtime.Remove(ctx, req.ID)
	case "pause":
		return s.runtime.Pause(ctx, req.ID)
	case "resume":
		return s.runtime.Resume(ctx, req.ID)
	}
	return holdfast.Errorf(holdfast.ErrUnsupported, "the supervisor knows no request %q: it may be older than its client", req.Op)
}

var errNoArgument = holdfast.Errorf(holdfast.ErrInvalid, "the request lacks its argument")

// watch streams statuses until the client is gone.
func (s *server) watch(ctx context.Context, w *wire) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes, err := s.runtime.Watch(ctx)
	if err != nil {
		return w.write(reply{Err: encodeError(err)})
	}
	go func() {
		defer cancel()
		_, _ = w.conn.Read(make([]byte, 1)) // clients say nothing more: it ends when they go
	}()
	for status := range changes {
		text, err := json.Marshal(status)
		if err != nil {
			return err
		}
		if err := w.write(reply{Result: text}); err != nil {
			return errDone
		}
	}
	return errDone
}
