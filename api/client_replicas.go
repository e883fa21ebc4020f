package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"github.com/holdfast/holdfast/container"
)

// Replicas lists replicas of an app, or of all for ""; with ended also those that ended.
func (c *Client) Replicas(ctx context.Context, app, service string, ended bool) ([]ReplicaView, error) {
	q := values("app", app, "service", service, "ended", flag(ended))
	return get[[]ReplicaView](ctx, c, call{method: http.MethodGet, path: at("replicas"), query: q})
}

// Replica returns one replica. ErrNotFound.
func (c *Client) Replica(ctx context.Context, id string) (ReplicaView, error) {
	return get[ReplicaView](ctx, c, call{method: http.MethodGet, path: at("replicas", id)})
}

// Signal sends sig to a replica's first process.
func (c *Client) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	_, err := get[none](ctx, c, call{method: http.MethodPost, path: at("replicas", id, "signal"), json: map[string]int{"signal": int(sig)}})
	return err
}

// CopyFrom returns path of a replica as a tar; the caller closes it.
func (c *Client) CopyFrom(ctx context.Context, id, path string) (io.ReadCloser, error) {
	resp, err := c.do(ctx, call{method: http.MethodGet, path: at("replicas", id, "files"), query: values("path", path)})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// CopyTo unpacks the tar r into directory dir of a replica.
func (c *Client) CopyTo(ctx context.Context, id, dir string, r io.Reader) error {
	resp, err := c.do(ctx, call{
		method: http.MethodPut, path: at("replicas", id, "files"),
		query: values("path", dir), raw: r, rawType: tarType,
	})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Exec runs another process in a replica's container. ctx bounds the start alone.
func (c *Client) Exec(ctx context.Context, id string, spec container.ExecSpec) (container.Exec, error) {
	conn, r, err := c.upgrade(ctx, call{method: http.MethodPost, path: at("replicas", id, "exec"), json: spec}, Protocol)
	if err != nil {
		return nil, err
	}
	return newRemoteExec(conn, r, spec.TTY), nil
}

// Attach connects to a replica's standard streams; tty says whether it has a terminal. ctx bounds the start alone.
func (c *Client) Attach(ctx context.Context, id string, tty bool) (container.Exec, error) {
	conn, r, err := c.upgrade(ctx, call{method: http.MethodPost, path: at("replicas", id, "attach")}, Protocol)
	if err != nil {
		return nil, err
	}
	return newRemoteExec(conn, r, tty), nil
}

// Forward connects to a TCP port inside a replica. ctx bounds the start alone.
func (c *Client) Forward(ctx context.Context, id string, port uint16) (net.Conn, error) {
	q := values("port", strconv.Itoa(int(port)))
	conn, r, err := c.upgrade(ctx, call{method: http.MethodPost, path: at("replicas", id, "forward"), query: q}, forwardProtocol)
	if err != nil {
		return nil, err
	}
	return bufferedConn{conn, r}, nil
}

// upgrade sends k on a connection of its own and returns it once the agent has switched to protocol.
func (c *Client) upgrade(ctx context.Context, k call, protocol string) (net.Conn, *bufio.Reader, error) {
	req, err := k.request(ctx)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	r, err := switchProtocol(conn, req)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, r, nil
}

func switchProtocol(conn net.Conn, req *http.Request) (*bufio.Reader, error) {
	if err := req.Write(conn); err != nil {
		return nil, transportError(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, transportError(err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return r, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, transportError(err)
	}
	if resp.StatusCode < 400 {
		return nil, fmt.Errorf("the agent answered %s instead of switching to %s", resp.Status, req.Header.Get("Upgrade"))
	}
	return nil, responseError(resp, text)
}
