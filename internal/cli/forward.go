package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast/api"
)

func (a *app) portForwardCommand() *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "port-forward SERVICE|REPLICA [LOCAL:]PORT...",
		Short: "Make a TCP port of a replica a port of this machine",
		Long: "Listens here and passes each connection on to the replica. For SERVICE each connection goes to a replica that is\n" +
			"ready then, so that it goes on working while replicas come and go. Ends with ctrl-c.",
		Example: "  holdfast port-forward db 5432\n" +
			"  holdfast port-forward web 8080:80 8443:443",
		Args:              args(2, -1),
		ValidArgsFunction: a.complete(1, a.replicaNames),
		RunE: func(cmd *cobra.Command, given []string) error {
			pairs, err := parsePorts(given[1:])
			if err != nil {
				return err
			}
			return a.portForward(cmd.Context(), given[0], address, pairs)
		},
	}
	cmd.Flags().StringVar(&address, "address", "127.0.0.1", "address to listen on")
	return cmd
}

// portPair is a port here and one in the replica. A local port of 0 is chosen by the kernel.
type portPair struct{ local, remote uint16 }

func parsePorts(texts []string) ([]portPair, error) {
	var out []portPair
	for _, text := range texts {
		local, remote, both := strings.Cut(text, ":")
		if !both {
			remote = local
		}
		l, err := parsePort(local, 0)
		if err == nil {
			var r uint16
			r, err = parsePort(remote, 1)
			out = append(out, portPair{l, r})
		}
		if err != nil {
			return nil, usage("port %q: want PORT or LOCAL:PORT, with numbers from 1 to 65535", text)
		}
	}
	return out, nil
}

func parsePort(text string, least uint64) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n < least {
		return 0, fmt.Errorf("no port: %q", text)
	}
	return uint16(n), nil
}

func (a *app) portForward(ctx context.Context, ref, address string, pairs []portPair) error {
	if _, err := a.resolve(ctx, ref); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	failed := make(chan error, len(pairs))
	for _, p := range pairs {
		l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(int(p.local))))
		if err != nil {
			cancel()
			return fmt.Errorf("listen for port %d: %w", p.remote, err)
		}
		stop := context.AfterFunc(ctx, func() { _ = l.Close() })
		defer stop()
		a.printf("%s -> %s port %d\n", l.Addr(), ref, p.remote)
		wg.Go(func() { failed <- a.forwardAll(ctx, l, ref, p.remote) })
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		cancel()
		return err
	}
}

// forwardAll serves l until it is closed.
func (a *app) forwardAll(ctx context.Context, l net.Listener, ref string, port uint16) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		wg.Go(func() { a.forwardOne(ctx, conn, ref, port) })
	}
}

func (a *app) forwardOne(ctx context.Context, conn net.Conn, ref string, port uint16) {
	defer conn.Close()
	r, err := a.resolve(ctx, ref)
	if err != nil {
		a.note("connection from %s: %v", conn.RemoteAddr(), err)
		return
	}
	target, err := a.api().Forward(ctx, r.ID, port)
	if err != nil {
		a.note("connection from %s: %v", conn.RemoteAddr(), err)
		return
	}
	defer target.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close(); _ = target.Close() })
	defer stop()
	api.Join(conn, target)
}
