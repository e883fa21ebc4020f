//go:build linux

package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"syscall"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux/stdio"
)

// Exec implements container.Runtime.
func (c *Client) Exec(ctx context.Context, id string, spec container.ExecSpec) (container.Exec, error) {
	return c.process(ctx, request{Op: "exec", ID: id, Exec: &spec})
}

// Attach implements container.Runtime.
func (c *Client) Attach(ctx context.Context, id string) (container.Exec, error) {
	return c.process(ctx, request{Op: "attach", ID: id})
}

func (c *Client) process(ctx context.Context, req request) (container.Exec, error) {
	w, err := c.acquire(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { w.conn.Close() })
	rep, files, err := w.ask(req)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = rep.Err.decode()
	}
	var set streamSet
	if err == nil {
		err = json.Unmarshal(rep.Result, &set)
	}
	var streams stdio.Files
	if err == nil {
		streams, err = unpackFiles(set, files)
	}
	if err != nil {
		closeFiles(files)
		w.conn.Close()
		return nil, err
	}
	p := &remote{wire: w, ended: make(chan struct{}), answers: make(chan error)}
	go p.receive()
	return stdio.NewExec(streams, p), nil
}

// remote is a process at the other end of a connection.
type remote struct {
	wire    *wire
	calls   sync.Mutex // one at a time
	answers chan error

	ended chan struct{} // closed when code and err are set
	code  int
	err   error
}

// receive takes what the supervisor says until the connection ends.
func (p *remote) receive() {
	done := false
	for {
		var msg fromProcess
		files, err := p.wire.read(&msg)
		closeFiles(files)
		switch {
		case err != nil:
			if !done {
				p.err = holdfast.Errorf(holdfast.ErrUnavailable, "the connection to the process ended: %w", err)
				close(p.ended)
			}
			close(p.answers)
			return
		case msg.Ended:
			p.code, p.err = msg.ExitCode, msg.Err.decode()
			done = true
			close(p.ended)
		default:
			p.answers <- msg.Err.decode()
		}
	}
}

func (p *remote) call(msg toProcess) error {
	p.calls.Lock()
	defer p.calls.Unlock()
	if err := p.wire.write(msg); err != nil {
		return holdfast.Errorf(holdfast.ErrUnavailable, "reach process: %w", err)
	}
	err, open := <-p.answers
	if !open {
		return holdfast.Errorf(holdfast.ErrUnavailable, "the connection to the process ended")
	}
	return err
}

// Signal implements stdio.Control.
func (p *remote) Signal(sig syscall.Signal) error { return p.call(toProcess{Signal: int(sig)}) }

// CloseStdin implements stdio.Control.
func (p *remote) CloseStdin() error { return p.call(toProcess{CloseStdin: true}) }

// Wait implements stdio.Control.
func (p *remote) Wait() (int, error) {
	<-p.ended
	return p.code, p.err
}

// Close implements stdio.Control: at the connection's end the supervisor kills what Exec started.
func (p *remote) Close() error {
	if err := p.wire.conn.Close(); err != nil {
		return fmt.Errorf("close connection to process: %w", err)
	}
	return nil
}
