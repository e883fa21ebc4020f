package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// upgraded answers 101 and hands the connection to serve, which owns it until it returns. onFail is called when the
// connection cannot be taken over.
func upgraded(protocol string, serve func(conn net.Conn, r io.Reader), onFail func()) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humago.Unwrap(hctx)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			onFail()
			writeProblem(w, fmt.Errorf("take over the connection: %w", err))
			return
		}
		defer conn.Close()
		// The agent that stops cuts its connections; the processes behind them go on.
		stop := context.AfterFunc(hctx.Context(), func() { _ = conn.Close() })
		defer stop()
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol); err != nil {
			onFail()
			return
		}
		serve(conn, unread(rw.Reader, conn))
	}}
}

// unread reads what was read ahead and then the connection itself: net/http's reader would take a half-close for the
// end of the request and cancel its context.
func unread(ahead *bufio.Reader, conn net.Conn) io.Reader {
	b, err := ahead.Peek(ahead.Buffered())
	if err != nil {
		return conn // Peek of what is buffered does not fail
	}
	return io.MultiReader(bytes.NewReader(bytes.Clone(b)), conn)
}

// serveExec joins a process and a connection until the process ended or the caller left.
func serveExec(conn net.Conn, r io.Reader, p container.Exec) {
	out := &frameWriter{w: conn}
	in := newStdinQueue()
	go in.feed(p.Stdin(), func(n int) { _ = out.send(takenFrame(n)) })
	defer in.leave()
	go func() {
		// The caller left, or sent what is no frame: Close ends an exec'd process and lets go of an attached one.
		if err := receiveFrames(r, in, p); err != nil {
			_ = out.fail(err)
		}
		_ = p.Close()
	}()
	var wg sync.WaitGroup
	for t, stream := range map[frameType]io.Reader{frameStdout: p.Stdout(), frameStderr: p.Stderr()} {
		if stream != nil {
			wg.Go(func() { out.copy(t, stream) })
		}
	}
	wg.Wait()
	code, err := p.Wait()
	if err != nil {
		_ = out.fail(err)
		return
	}
	_ = out.send(exitFrame(code))
}

// receiveFrames applies the caller's frames to the process until the connection ends. A clean end is no error.
func receiveFrames(r io.Reader, in *stdinQueue, p container.Exec) error {
	for {
		f, err := readFrame(r)
		if err == nil {
			err = applyFrame(f, in, p)
		}
		if err != nil {
			return invalidOnly(err)
		}
	}
}

// applyFrame does what f says. A resize or signal that comes too late is dropped: the exit frame is on its way.
func applyFrame(f frame, in *stdinQueue, p container.Exec) error {
	switch f.Type {
	case frameStdin:
		return in.add(f.Payload)
	case frameCloseStdin:
		in.close()
	case frameResize:
		_ = p.Resize(f.resize())
	case frameSignal:
		_ = p.Signal(syscall.Signal(f.Payload[0]))
	default:
		return holdfast.Errorf(holdfast.ErrInvalid, "frame of type %d from the caller", f.Type)
	}
	return nil
}

// frameWriter sends frames of several goroutines over one connection.
type frameWriter struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

func (fw *frameWriter) send(f frame) error {
	fw.mu.Lock()
	defer fw.mu.Unlock()
	fw.buf = appendFrame(fw.buf[:0], f)
	_, err := fw.w.Write(fw.buf)
	return err
}

func (fw *frameWriter) fail(err error) error {
	text, merr := json.Marshal(problem(err))
	if merr != nil || len(text) > maxPayload {
		text = []byte(`{"type":"` + problemType + `internal","status":500,"detail":"error too long to send"}`)
	}
	return fw.send(frame{Type: frameError, Payload: text})
}

// copy sends r as frames of type t until r ends or the connection does; then it drains r, so that the process is not
// held up by a caller that left.
func (fw *frameWriter) copy(t frameType, r io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 && fw.send(frame{Type: t, Payload: buf[:n]}) != nil {
			_, _ = io.Copy(io.Discard, r)
			return
		}
		if err != nil {
			return
		}
	}
}
