package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// remoteExec is the caller's end of an exec or attach: a container.Exec over the framed connection.
type remoteExec struct {
	conn           net.Conn
	out            *frameWriter
	stdin          *stdinFrames
	stdout, stderr *io.PipeReader
	done           chan struct{}
	code           int
	err            error
}

var _ container.Exec = (*remoteExec)(nil)

// newRemoteExec reads r's frames until the last one. With tty there is no stream of errors.
func newRemoteExec(conn net.Conn, r *bufio.Reader, tty bool) *remoteExec {
	e := &remoteExec{conn: conn, out: &frameWriter{w: conn}, done: make(chan struct{})}
	e.stdin = newStdinFrames(e.out)
	var stdout, stderr *io.PipeWriter
	e.stdout, stdout = io.Pipe()
	if !tty {
		e.stderr, stderr = io.Pipe()
	}
	go func() {
		defer close(e.done)
		e.code, e.err = receiveOutput(r, stdout, stderr, e.stdin.taken)
		e.stdin.end()
		_ = stdout.Close()
		if stderr != nil {
			_ = stderr.Close()
		}
	}()
	return e
}

// receiveOutput writes output frames to the pipes and returns what the last frame says.
func receiveOutput(r io.Reader, stdout, stderr *io.PipeWriter, taken func(int)) (int, error) {
	for {
		f, err := readFrame(r)
		if err != nil {
			return 0, lostConnection(err)
		}
		switch f.Type {
		case frameStdout:
			_, _ = stdout.Write(f.Payload) // fails only when the reader was closed: its output is not wanted
		case frameStderr:
			if stderr != nil {
				_, _ = stderr.Write(f.Payload)
			}
		case frameTaken:
			taken(f.taken())
		case frameExit:
			return f.exit(), nil
		case frameError:
			return 0, frameProblem(f)
		}
	}
}

func frameProblem(f frame) error {
	var m huma.ErrorModel
	if err := json.Unmarshal(f.Payload, &m); err != nil {
		return fmt.Errorf("decode the agent's error: %w", err)
	}
	return unproblem(&m)
}

func lostConnection(err error) error {
	if errors.Is(err, holdfast.ErrInvalid) {
		return err
	}
	return holdfast.Errorf(holdfast.ErrUnavailable, "the connection to the agent ended before the process did: %w", err)
}

// invalidOnly keeps an error that a peer's bad bytes made, and drops what only says that the connection ended.
func invalidOnly(err error) error {
	if errors.Is(err, holdfast.ErrInvalid) {
		return err
	}
	return nil
}

func (e *remoteExec) Stdin() io.WriteCloser { return e.stdin }
func (e *remoteExec) Stdout() io.Reader     { return e.stdout }

func (e *remoteExec) Stderr() io.Reader {
	if e.stderr == nil {
		return nil
	}
	return e.stderr
}

func (e *remoteExec) Resize(rows, cols uint16) error  { return e.out.send(resizeFrame(rows, cols)) }
func (e *remoteExec) Signal(sig syscall.Signal) error { return e.out.send(signalFrame(sig)) }
func (e *remoteExec) Wait() (int, error)              { <-e.done; return e.code, e.err }

func (e *remoteExec) Close() error {
	err := e.conn.Close()
	_ = e.stdout.Close()
	if e.stderr != nil {
		_ = e.stderr.Close()
	}
	return err
}
