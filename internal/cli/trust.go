package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast/holdfast"
)

// trustStore is where the system keeps the authorities that programs trust.
type trustStore struct {
	dir    string   // of local ones
	update []string // makes the system take what is in dir
}

var debianTrust = trustStore{"/usr/local/share/ca-certificates", []string{"update-ca-certificates"}}

func (a *app) trustCommand() *cobra.Command {
	var printOnly bool
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Trust the certificates of routes with tls: local on this machine",
		Long: "Routes with tls: local have certificates of the cluster's own authority, which exists for development. This adds its\n" +
			"root to the system's store (as Debian and Ubuntu have it), for curl and most programs. Browsers with a store of their\n" +
			"own take the file that --print writes.",
		Example: "  holdfast trust                        needs root\n  holdfast trust --print > root.pem",
		Args:    args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := a.localRoot(cmd.Context())
			if err != nil {
				return err
			}
			if printOnly {
				_, err := a.Stdout.Write(root)
				return err
			}
			path, err := debianTrust.install(cmd.Context(), root)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "trusted: %s\n", path)
			return nil
		},
	}
	cmd.Flags().BoolVar(&printOnly, "print", false, "print the root's certificate in PEM and change nothing")
	return cmd
}

// localRoot asks the gateway of this machine, whose socket is beside the agent's.
func (a *app) localRoot(ctx context.Context) ([]byte, error) {
	socket := filepath.Join(filepath.Dir(a.socketPath()), "gateway.sock")
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway/local-root.pem", nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "no gateway answers at %s: %w", socket, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, holdfast.Errorf(holdfast.ErrUnavailable, "%s", strings.TrimSpace(string(body)))
	}
	return body, nil
}

// install adds root and returns the file that it is in.
func (s trustStore) install(ctx context.Context, root []byte) (string, error) {
	if _, err := exec.LookPath(s.update[0]); err != nil {
		return "", holdfast.Errorf(holdfast.ErrUnsupported, "this system has no %s: add what --print writes by hand", s.update[0])
	}
	path := filepath.Join(s.dir, "holdfast-local.crt")
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return "", fmt.Errorf("install root: %w", err)
	}
	if err := os.WriteFile(path, root, 0o644); err != nil { //nolint:gosec // a certificate is for all to read
		return "", fmt.Errorf("install root: %w", err)
	}
	out, err := exec.CommandContext(ctx, s.update[0], s.update[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", s.update[0], err, strings.TrimSpace(string(out)))
	}
	return path, nil
}
