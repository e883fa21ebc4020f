//go:build linux

package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux/stdio"
)

// process starts or attaches to a process and serves the connection to it.
func (s *server) process(ctx context.Context, w *wire, req request) error {
	e, err := s.open(ctx, req)
	if err != nil {
		return w.write(reply{Err: encodeError(err)})
	}
	set, files := packFiles(e.Files())
	text, err := json.Marshal(set)
	if err == nil {
		err = w.write(reply{Result: text}, files...)
	}
	e.Files().Close() // the client has them
	if err != nil {
		_ = e.Control().Close()
		return err
	}
	go s.report(w, e.Control())
	for {
		var msg toProcess
		files, err := w.read(&msg)
		closeFiles(files)
		if err != nil { // the client is gone
			_ = e.Control().Close() // nobody is there to hear of it
			return errDone
		}
		if err := w.write(fromProcess{Err: encodeError(apply(e.Control(), msg))}); err != nil {
			_ = e.Control().Close()
			return errDone
		}
	}
}

func (s *server) open(ctx context.Context, req request) (*stdio.Exec, error) {
	var e container.Exec
	var err error
	if req.Op == "attach" {
		e, err = s.runtime.Attach(ctx, req.ID)
	} else {
		if req.Exec == nil {
			return nil, errNoArgument
		}
		e, err = s.runtime.Exec(ctx, req.ID, *req.Exec)
	}
	if err != nil {
		return nil, err
	}
	own, ok := e.(*stdio.Exec)
	if !ok {
		return nil, fmt.Errorf("%s: runtime returned %T", req.Op, e)
	}
	return own, nil
}

func apply(c stdio.Control, msg toProcess) error {
	if msg.CloseStdin {
		return c.CloseStdin()
	}
	return c.Signal(syscall.Signal(msg.Signal))
}

// report tells the client of the process's end. If the client is gone before, nobody wants to know.
func (s *server) report(w *wire, c stdio.Control) {
	code, err := c.Wait()
	_ = w.write(fromProcess{Ended: true, ExitCode: code, Err: encodeError(err)})
}
