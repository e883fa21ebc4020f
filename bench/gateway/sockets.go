package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// socketPort is where the backend for WebSockets listens; requests below /ws go there.
const socketPort = 18081

const upgradeRequest = "GET /ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// sockets measures how much resident memory an idle WebSocket costs each candidate.
func (b *bench) sockets(ctx context.Context, n int) error {
	fmt.Printf("\n%d idle WebSockets\n%-16s %12s\n", n, "", "bytes each")
	for _, p := range b.proxies[1:] {
		each, err := idleSockets(ctx, p, n)
		if err != nil {
			return fmt.Errorf("open sockets through %s: %w", p.name, err)
		}
		fmt.Printf("%-16s %12d\n", p.name, each)
	}
	return nil
}

func idleSockets(ctx context.Context, p *proxy, n int) (int64, error) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	var before int64
	for i := range n + 100 {
		if i == 100 { // the first ones make what all share
			var err error
			if _, before, err = usage(p.cmd.Process.Pid); err != nil {
				return 0, err
			}
		}
		c, err := openSocket(ctx, p.port)
		if err != nil {
			return 0, fmt.Errorf("socket %d: %w", i, err)
		}
		conns = append(conns, c)
	}
	_, after, err := usage(p.cmd.Process.Pid)
	return (after - before) / int64(n), err
}

func openSocket(ctx context.Context, port int) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, upgradeRequest); err != nil {
		return c, err
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return c, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return c, fmt.Errorf("status %s", resp.Status)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		return c, err
	}
	echo := make([]byte, 5)
	if _, err := io.ReadFull(br, echo); err != nil {
		return c, fmt.Errorf("read echo: %w", err)
	}
	return c, nil
}

// serveSockets accepts upgrades on all backend addresses, and echoes, until ctx ends.
func serveSockets(ctx context.Context) error {
	for _, ip := range backends() {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, socketPort))
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go echo(c)
			}
		}()
	}
	return nil
}

func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 2048)
	for head := ""; !strings.Contains(head, "\r\n\r\n"); {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if head += string(buf[:n]); !strings.Contains(head, "\r\n\r\n") {
			continue
		}
		_, rest, _ := strings.Cut(head, "\r\n\r\n")
		_, err = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"+rest)
		if err != nil {
			return
		}
	}
	buf = nil
	_, _ = io.Copy(c, c)
}
