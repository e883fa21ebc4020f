package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

func (a *app) agentStopCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "stop", Short: "Stop the agent; containers go on until the next one adopts them", Args: args(0, 0),
		Long: "Asks the agent to end and waits until it has. Containers, their connections and the gateway go on. One that systemd\n" +
			"runs is started again by it: use systemctl stop holdfast.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all {
				if err := a.nothingDeployed(cmd.Context()); err != nil {
					return err
				}
			}
			if err := a.stopAgent(cmd.Context()); err != nil {
				return err
			}
			if all {
				if err := stopGateway(cmd.Context(), filepath.Join(filepath.Dir(a.socketPath()), "gateway.sock")); err != nil {
					return err
				}
			}
			a.printf("the agent has ended\n")
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "stop the gateway too; refused while an app is deployed")
	return cmd
}

func (a *app) nothingDeployed(ctx context.Context) error {
	apps, err := a.api().Apps(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, v := range apps {
		names = append(names, v.Name)
	}
	if len(names) > 0 {
		return holdfast.Errorf(holdfast.ErrConflict, "stop --all: still deployed: %s; take it down first (holdfast down)", strings.Join(names, ", "))
	}
	return nil
}

// stopGateway asks the gateway's process to end; one that is not there is stopped.
func stopGateway(ctx context.Context, socket string) error {
	hc := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer hc.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway/version", nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		return nil //nolint:nilerr // nobody answers: it has ended
	}
	defer resp.Body.Close()
	var version string
	var pid int
	if _, err := fmt.Fscan(resp.Body, &version, &pid); err != nil {
		return fmt.Errorf("ask the gateway for its process: %w", err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop gateway (pid %d): %w", pid, err)
	}
	return nil
}

// stopAgent asks the agent to end and waits until its socket no longer answers.
func (a *app) stopAgent(ctx context.Context) error {
	info, err := a.api().Info(ctx)
	if err != nil {
		return err
	}
	if err := syscall.Kill(info.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop agent (pid %d): %w", info.PID, err)
	}
	return awaitEnd(ctx, a.socketPath())
}

// awaitEnd tries until nobody answers on socket.
func awaitEnd(ctx context.Context, socket string) error {
	client := api.Dial(socket)
	defer client.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := client.Info(ctx); errors.Is(err, holdfast.ErrUnavailable) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
