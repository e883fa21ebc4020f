package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

func (a *app) agentStopCommand() *cobra.Command {
	return &cobra.Command{
		Use: "stop", Short: "Stop the agent; containers go on until the next one adopts them", Args: args(0, 0),
		Long: "Asks the agent to end and waits until it has. Containers, their connections and the gateway go on; when none run, all\n" +
			"of it ends with the agent: processes, mounts, cgroups and the node's network. Data and images stay.\n" +
			"One that systemd runs is started again by it: use systemctl stop holdfast.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.stopAgent(cmd.Context()); err != nil {
				return err
			}
			a.printf("the agent has ended\n")
			return nil
		},
	}
}

// stopAgent asks the agent to end and waits until its process is gone.
func (a *app) stopAgent(ctx context.Context) error {
	if _, err := a.api().Info(ctx); err != nil {
		return err
	}
	pid, err := peerOf(ctx, a.socketPath())
	if err != nil {
		return fmt.Errorf("find the agent's process: %w", err)
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("stop agent (pid %d): %w", pid, err)
	}
	defer unix.Close(process)
	if err := unix.PidfdSendSignal(process, syscall.SIGTERM, nil, 0); err != nil {
		return fmt.Errorf("stop agent (pid %d): %w", pid, err)
	}
	return awaitEnd(ctx, process)
}

// peerOf asks the kernel who listens on socket: the agent's own word for its PID is that of its PID namespace, which
// need not be ours.
func peerOf(ctx context.Context, socket string) (int, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) { peer, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if asked != nil {
		return 0, asked
	}
	if peer.Pid == 0 {
		return 0, holdfast.Errorf(holdfast.ErrUnsupported, "it is out of reach, in a container or PID namespace of its own: stop it there")
	}
	return int(peer.Pid), nil
}

// awaitEnd waits until the process of a pidfd has ended.
func awaitEnd(ctx context.Context, process int) error {
	const pause = 20 * time.Millisecond // between two looks at ctx
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, int(pause.Milliseconds()))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the agent's end: %w", err)
		case n > 0:
			return nil
		}
	}
	return ctx.Err()
}
