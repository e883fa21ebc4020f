// Package relay moves bytes between clients and replicas of published ports that are not HTTP: TCP connections, spliced
// in the kernel where it can, and UDP flows.
//
// May import only gateway/upstream, the standard library and golang.org/x/sys.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/gateway/upstream"
)

// Config of a relay.
type Config struct {
	Set *upstream.Set
	// Backend returns what answers now, or nil.
	Backend func() *upstream.Backend
	Limits  upstream.Limits
	Log     *slog.Logger
}

// ServeTCP relays connections of l until ctx ends; then it takes no more, gives those it has up to grace to end, and
// cuts them. It closes l.
func ServeTCP(ctx context.Context, l *net.TCPListener, cfg Config, grace time.Duration) error {
	cfg.Limits = cfg.Limits.WithDefaults()
	stopAccept := context.AfterFunc(ctx, func() { l.Close() })
	defer stopAccept()
	live, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var conns sync.WaitGroup
	err := acceptTCP(l, func(c *net.TCPConn) {
		conns.Go(func() { cfg.relayTCP(live, c) })
	})
	l.Close()
	limit := time.AfterFunc(grace, cut)
	defer limit.Stop()
	conns.Wait()
	if ctx.Err() == nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// acceptTCP calls serve for each connection. It returns when l is closed; it waits out a shortage of files.
func acceptTCP(l *net.TCPListener, serve func(*net.TCPConn)) error {
	for {
		c, err := l.AcceptTCP()
		switch {
		case err == nil:
			serve(c)
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// relayTCP connects client to a replica, holding it while none takes the connection, and copies both ways until both
// sides closed, the replica is gone or ctx ends.
func (cfg Config) relayTCP(ctx context.Context, client *net.TCPConn) {
	defer client.Close()
	ep, server, err := cfg.connect(ctx)
	if err != nil {
		cfg.Log.Debug("relay tcp", "client", client.RemoteAddr(), "err", err)
		_ = client.SetLinger(0) // the client sees a reset: it was not served
		return
	}
	defer ep.Done()
	defer server.Close()
	cut := func() { client.Close(); server.Close() }
	defer context.AfterFunc(ep.Replica.Gone(), func() {
		if !hasMore(server) {
			cut()
			return
		}
		limit := time.Now().Add(cfg.Limits.Stall) // what the replica said is passed on, and no more
		_, _ = client.SetDeadline(limit), server.SetDeadline(limit)
	})()
	defer context.AfterFunc(ctx, cut)()
	var in int64
	var up sync.WaitGroup
	up.Go(func() { in = pump(server, client) })
	out := pump(client, server)
	up.Wait()
	ep.Traffic.Bytes(in, out)
}

// hasMore reports whether there is something to read from c that was not read, be it the end.
func hasMore(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	const closeWait = 8 // include/net/tcp_states.h
	more := false
	err = raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ); err == nil && n > 0 {
			more = true
			return
		}
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		more = err == nil && info.State == closeWait
	})
	return err == nil && more
}

// pump copies until from ends, and passes the end on. When to cannot take more, it ends both.
func pump(to, from *net.TCPConn) int64 {
	n, err := io.Copy(to, from)
	if err != nil {
		to.Close()
		from.Close()
		return n
	}
	_ = to.CloseWrite()
	return n
}

// connect picks a replica and connects to it; it tries others for as long as a request may be held.
func (cfg Config) connect(ctx context.Context) (*upstream.Endpoint, *net.TCPConn, error) {
	backend := cfg.Backend()
	if backend == nil {
		return nil, nil, upstream.ErrIdle
	}
	since := cfg.Set.Now()
	deadline := since + cfg.Limits.HoldFor
	for avoid := (*upstream.Endpoint)(nil); ; {
		ep, err := backend.Wait(ctx, since, deadline, avoid)
		if err != nil {
			return nil, nil, err
		}
		began := cfg.Set.Now()
		c, err := cfg.dial(ctx, ep)
		if err == nil {
			now := cfg.Set.Now()
			ep.Answered(now-began, now)
			return ep, c, nil
		}
		ep.Refused(cfg.Set.Now())
		ep.Done()
		avoid = ep
	}
}

func (cfg Config) dial(ctx context.Context, ep *upstream.Endpoint) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Limits.Connect)
	defer cancel()
	defer context.AfterFunc(ep.Replica.Gone(), cancel)()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", ep.Addr.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
