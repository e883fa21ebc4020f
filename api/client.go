package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"

	"github.com/holdfast/holdfast"
)

// Client calls one agent. Safe for concurrent use. Its errors are of the kinds that the agent's were; ErrUnavailable
// when no agent answers.
type Client struct {
	socket string
	http   *http.Client
}

// Dial returns a client of the agent at socket. It does not connect yet.
func Dial(socket string) *Client {
	c := &Client{socket: socket}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.connect(ctx) },
		DisableCompression: true,
	}}
	return c
}

// Socket returns the path that c connects to.
func (c *Client) Socket() string { return c.socket }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.socket)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "no agent answers on %s", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "the agent's socket %s is for root: run as root, or with sudo", c.socket)
	}
	return nil, holdfast.Errorf(holdfast.ErrUnavailable, "connect to the agent: %w", err)
}

// call is one request.
type call struct {
	method, path string
	query        url.Values
	json         any       // body as JSON, or
	raw          io.Reader // body as bytes
	rawType      string
}

func (k call) request(ctx context.Context) (*http.Request, error) {
	target := "http://agent" + k.path
	if q := k.query.Encode(); q != "" {
		target += "?" + q
	}
	reader, contentType := k.raw, k.rawType
	if k.json != nil {
		text, err := json.Marshal(k.json)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		reader, contentType = bytes.NewReader(text), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, reader)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return req, nil
}

// do sends k and returns an answer below 400; the caller closes its body.
func (c *Client) do(ctx context.Context, k call) (*http.Response, error) {
	req, err := k.request(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, transportError(err)
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, transportError(err)
	}
	return nil, responseError(resp, text)
}

// transportError takes net/url's words off an error that has a kind, and gives the others one.
func transportError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if holdfast.KindOf(err) != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return holdfast.Errorf(holdfast.ErrUnavailable, "talk to the agent: %w", err)
}

// get decodes the answer of k.
func get[T any](ctx context.Context, c *Client, k call) (T, error) {
	var out T
	resp, err := c.do(ctx, k)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, transportError(err)
	}
	return out, nil
}

// stream yields the lines of k's answer; the connection is closed when the loop over it ends.
func stream[T any](ctx context.Context, c *Client, k call) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		resp, err := c.do(ctx, k)
		if err != nil {
			var zero T
			yield(zero, err)
			return
		}
		defer resp.Body.Close()
		for v, err := range readStream[T](resp.Body) {
			if err != nil {
				err = streamError(ctx, err)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

func streamError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return transportError(err)
}

// values makes a query of pairs of name and value; empty values are left out.
func values(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

func flag(on bool) string {
	if !on {
		return ""
	}
	return strconv.FormatBool(on)
}

func at(parts ...string) string {
	path := "/v1"
	for _, p := range parts {
		path += "/" + url.PathEscape(p)
	}
	return path
}
