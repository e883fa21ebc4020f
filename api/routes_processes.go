package api

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// forwardProtocol is the Upgrade header's value of a forwarded port: bytes as they are, both ways, half-closes included.
const forwardProtocol = "holdfast-tcp/1"

func (s *Server) routeProcesses() {
	const tag = "processes"
	const framed = "Frames both ways: one byte of type (0 stdin, 1 stdout, 2 stderr, 3 resize: rows and columns of two bytes, " +
		"4 signal: one byte, 5 close stdin, 6 exit: code of four bytes, 7 error: a problem, 8 input taken: bytes, in four), " +
		"four bytes of length, big endian, payload of at most 64 KiB. At most 256 KiB of stdin may be under way: sent, and not yet taken. " +
		"Exit or error is the last frame."
	handleRaw(s, operation("POST /v1/replicas/{replica}/exec", "exec", tag, "Run another process in a replica"),
		upgrade(Protocol, framed), s.exec)
	handleRaw(s, operation("POST /v1/replicas/{replica}/attach", "attach", tag, "Connect to a replica's standard streams"),
		upgrade(Protocol, framed), s.attach)
	handleRaw(s, operation("POST /v1/replicas/{replica}/forward", "forward-port", tag, "Connect to a TCP port inside a replica"),
		upgrade(forwardProtocol, "The TCP connection's bytes, both ways"), s.forward)
}

type execInput struct {
	ReplicaPath
	Body container.ExecSpec
}

func (s *Server) exec(ctx context.Context, in *execInput) (*huma.StreamResponse, error) {
	if len(in.Body.Args) == 0 {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "exec without a command")
	}
	if _, err := s.replica(in.Replica); err != nil {
		return nil, err
	}
	p, err := s.cfg.Processes.Exec(ctx, in.Replica, in.Body)
	if err != nil {
		return nil, explainExec(err, in.Replica, in.Body.Args[0])
	}
	return upgradedExec(p), nil
}

// unrunnable are the words with which the kernel and the runtimes say that a program cannot be executed. Which errno it
// was is lost on the way from the container.
var unrunnable = []struct {
	words string
	kind  error
}{
	{"no such file or directory", ErrNoProgram},
	{"executable file not found", ErrNoProgram},
	{"not found in $path", ErrNoProgram},
	{"permission denied", ErrNotExecutable},
	{"exec format error", ErrNotExecutable},
	{"is a directory", ErrNotExecutable},
}

// explainExec makes err one of exec's own when it is about the program.
func explainExec(err error, replica, program string) error {
	text := strings.ToLower(err.Error())
	name := strings.ToLower(program)
	about := []string{"execute " + name + ":", `exec: "` + name + `"`, "executable file `" + name + "`", "open executable"}
	if !slices.ContainsFunc(about, func(a string) bool { return strings.Contains(text, a) }) {
		return err
	}
	for _, u := range unrunnable {
		switch {
		case !strings.Contains(text, u.words):
		case u.kind == ErrNoProgram:
			return holdfast.Errorf(ErrNoProgram, "replica %s has no program %q", replica, program)
		default:
			return holdfast.Errorf(u.kind, "replica %s cannot execute %q: %s", replica, program, u.words)
		}
	}
	return err
}

func (s *Server) attach(ctx context.Context, in *ReplicaPath) (*huma.StreamResponse, error) {
	if _, err := s.replica(in.Replica); err != nil {
		return nil, err
	}
	p, err := s.cfg.Processes.Attach(ctx, in.Replica)
	if err != nil {
		return nil, err
	}
	return upgradedExec(p), nil
}

func upgradedExec(p container.Exec) *huma.StreamResponse {
	return upgraded(Protocol, func(conn net.Conn, r io.Reader) {
		defer p.Close()
		serveExec(conn, r, p)
	}, func() { _ = p.Close() })
}

type forwardInput struct {
	ReplicaPath
	Port uint16 `query:"port" required:"true" minimum:"1" doc:"TCP port in the replica"`
}

func (s *Server) forward(ctx context.Context, in *forwardInput) (*huma.StreamResponse, error) {
	if _, err := s.replica(in.Replica); err != nil {
		return nil, err
	}
	target, err := s.cfg.Processes.Dial(ctx, in.Replica, in.Port)
	if err != nil {
		return nil, err
	}
	return upgraded(forwardProtocol, func(conn net.Conn, r io.Reader) {
		defer target.Close()
		Join(bufferedConn{conn, r}, target)
	}, func() { _ = target.Close() }), nil
}

// Join copies between two connections until both directions ended, and passes each half-close on.
func Join(a, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		oneWay(a, b)
	}()
	oneWay(b, a)
	<-done
}

func oneWay(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	if half, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
		if half.CloseWrite() == nil {
			return
		}
	}
	_ = dst.Close()
	_ = src.Close()
}

// bufferedConn is a connection of which some bytes were read ahead.
type bufferedConn struct {
	net.Conn
	r io.Reader
}

func (c bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// CloseWrite passes a half-close on where the connection has one.
func (c bufferedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}
