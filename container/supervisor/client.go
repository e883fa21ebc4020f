//go:build linux

package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// Client uses a supervisor. It implements container.Runtime, connects at need and again after the supervisor was
// restarted; calls wait for that up to their context's end or Patience, then fail with ErrUnavailable. A Start during
// which the supervisor dies has an unknown outcome, and fails with ErrUnavailable too: List tells.
type Client struct {
	socket string

	mu   sync.Mutex
	idle []*wire
	gone bool
}

var _ container.Runtime = (*Client)(nil)

// Patience is how long a call waits for a supervisor that does not answer.
const Patience = 5 * time.Second

// maxIdle is how many connections are kept for later calls.
const maxIdle = 8

// Dial returns a runtime that is a client of the supervisor at socket. ErrUnavailable: none answers now.
func Dial(socket string) (container.Runtime, error) { return dial(socket) }

func dial(socket string) (*Client, error) {
	c := &Client{socket: socket}
	w, err := c.connect()
	if err != nil {
		return nil, err
	}
	c.release(w)
	return c, nil
}

// Close closes idle connections. Calls after it fail.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	for _, w := range c.idle {
		w.conn.Close()
	}
	c.idle = nil
	return nil
}

func (c *Client) connect() (*wire, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: c.socket, Net: "unix"})
	if err != nil {
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "connect to supervisor: %w", err)
	}
	return &wire{conn: conn}, nil
}

// acquire returns a connection whose other end is there.
func (c *Client) acquire(ctx context.Context) (*wire, error) {
	for w := c.take(); w != nil; w = c.take() {
		if w.alive() {
			return w, nil
		}
		w.conn.Close()
	}
	deadline := time.After(Patience)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		w, err := c.connect()
		if err == nil {
			return w, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-deadline:
			return nil, err
		case <-time.After(wait):
		}
	}
}

func (c *Client) take() *wire {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) == 0 {
		return nil
	}
	w := c.idle[len(c.idle)-1]
	c.idle = c.idle[:len(c.idle)-1]
	return w
}

func (c *Client) release(w *wire) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || len(c.idle) >= maxIdle {
		w.conn.Close()
		return
	}
	c.idle = append(c.idle, w)
}

// call sends req and decodes its result into result, unless that is nil.
func (c *Client) call(ctx context.Context, req request, result any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w, err := c.acquire(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { w.conn.SetDeadline(time.Unix(1, 0)) })
	rep, files, err := w.ask(req)
	if !stop() {
		w.conn.Close()
		closeFiles(files)
		return context.Cause(ctx)
	}
	closeFiles(files)
	if err != nil {
		w.conn.Close()
		return err
	}
	c.release(w)
	if err := rep.Err.decode(); err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(rep.Result, result); err != nil {
		return fmt.Errorf("decode supervisor's answer to %s: %w", req.Op, err)
	}
	return nil
}

// ask sends one request and receives one reply.
func (w *wire) ask(req request) (rep reply, files []*os.File, err error) {
	if err = w.write(req); err == nil {
		files, err = w.read(&rep)
	}
	if err != nil {
		err = holdfast.Errorf(holdfast.ErrUnavailable, "ask supervisor to %s: %w", req.Op, err)
	}
	return rep, files, err
}

// Park implements container.Runtime.
func (c *Client) Park(ctx context.Context, opt container.ParkOptions) (s container.Sandbox, err error) {
	err = c.call(ctx, request{Op: "park", Park: &opt}, &s)
	return s, err
}

// Start implements container.Runtime. Once it was sent, the end of ctx is not waited for: a start takes milliseconds.
func (c *Client) Start(ctx context.Context, spec container.Spec) (s container.Status, err error) {
	if err := ctx.Err(); err != nil {
		return s, err
	}
	err = c.call(context.WithoutCancel(ctx), request{Op: "start", Spec: &spec}, &s)
	return s, err
}

// Signal implements container.Runtime.
func (c *Client) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	return c.call(ctx, request{Op: "signal", ID: id, Signal: int(sig)}, nil)
}

// Kill implements container.Runtime.
func (c *Client) Kill(ctx context.Context, id string) error {
	return c.call(ctx, request{Op: "kill", ID: id}, nil)
}

// Remove implements container.Runtime.
func (c *Client) Remove(ctx context.Context, id string) error {
	return c.call(ctx, request{Op: "remove", ID: id}, nil)
}

// List implements container.Runtime.
func (c *Client) List(ctx context.Context) (list []container.Status, err error) {
	err = c.call(ctx, request{Op: "list"}, &list)
	return list, err
}

// Stats implements container.Runtime.
func (c *Client) Stats(ctx context.Context, id string) (s container.Stats, err error) {
	err = c.call(ctx, request{Op: "stats", ID: id}, &s)
	return s, err
}

// Pause implements container.Runtime.
func (c *Client) Pause(ctx context.Context, id string) error {
	return c.call(ctx, request{Op: "pause", ID: id}, nil)
}

// Resume implements container.Runtime.
func (c *Client) Resume(ctx context.Context, id string) error {
	return c.call(ctx, request{Op: "resume", ID: id}, nil)
}

// hello is what a supervisor says of itself.
type hello struct {
	PID     int    `json:"pid"`
	Binary  string `json:"binary"`  // names its build
	Started int64  `json:"started"` // tells it from its successor in the same process
}

func (c *Client) hello(ctx context.Context) (h hello, err error) {
	err = c.call(ctx, request{Op: "hello"}, &h)
	return h, err
}

// PID returns the supervisor's process, as the caller's namespace numbers it only if both share one.
func (c *Client) PID(ctx context.Context) (int, error) {
	h, err := c.hello(ctx)
	return h.PID, err
}

// Watch implements container.Runtime. When the supervisor is restarted, all present statuses are delivered again.
func (c *Client) Watch(ctx context.Context) (<-chan container.Status, error) {
	w, err := c.openWatch(ctx)
	if err != nil {
		return nil, err
	}
	out := make(chan container.Status)
	go func() {
		defer close(out)
		for {
			if w != nil {
				follow(ctx, w, out)
			}
			if ctx.Err() != nil {
				return
			}
			w, _ = c.openWatch(ctx) // it waited; it is tried for ever
		}
	}()
	return out, nil
}

func (c *Client) openWatch(ctx context.Context) (*wire, error) {
	w, err := c.acquire(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.write(request{Op: "watch"}); err != nil {
		w.conn.Close()
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "watch containers: %w", err)
	}
	return w, nil
}

// follow delivers statuses until the connection or ctx ends.
func follow(ctx context.Context, w *wire, out chan<- container.Status) {
	defer w.conn.Close()
	defer context.AfterFunc(ctx, func() { w.conn.Close() })()
	for {
		var rep reply
		files, err := w.read(&rep)
		closeFiles(files)
		var status container.Status
		if err == nil && rep.Err == nil {
			err = json.Unmarshal(rep.Result, &status)
		}
		if err != nil || rep.Err != nil {
			return
		}
		select {
		case out <- status:
		case <-ctx.Done():
			return
		}
	}
}
