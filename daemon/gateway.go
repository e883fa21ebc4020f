package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/gateway"
	"github.com/holdfast/holdfast/gateway/upstream"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/remote"
)

// The gateway is a process of its own: clients' connections must outlive the agent. It follows the store through a
// socket of the agent's; while no agent answers it goes on with what it last knew.

func (cfg Config) storeSocket() string   { return filepath.Join(cfg.RunDir, "store.sock") }
func (cfg Config) gatewaySocket() string { return filepath.Join(cfg.RunDir, "gateway.sock") }

// gatewayAccess is what the gateway's process may see and do: no secrets but those of routes.
var gatewayAccess = remote.Access{
	Read: func(key string) bool {
		switch store.TableOf(key) {
		case "files":
			return strings.HasPrefix(store.FileName(key), holdfast.GatewayFile)
		case "events":
			return false
		}
		return true
	},
	Write: gatewayWrites,
}

// RunGateway is the gateway's process: it serves until ctx ends, then lets what is in flight finish.
func RunGateway(ctx context.Context, cfg Config) error {
	cfg = cfg.Defaults()
	id, err := nodeID(cfg.DataDir)
	if err != nil {
		return err
	}
	control, err := api.Listen(cfg.gatewaySocket())
	if err != nil {
		return fmt.Errorf("listen for the agent: %w", err)
	}
	defer control.Close()
	state, err := store.Open(context.WithoutCancel(ctx), remote.Dial(remote.Unix(cfg.storeSocket())))
	if err != nil {
		return fmt.Errorf("follow the store: %w", err)
	}
	tls, err := cfg.gatewayTLS()
	if err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	gwConfig := gateway.Config{
		State: state, NodeID: id, Listen: []string{cfg.HTTP}, TLS: tls, Metrics: metrics, Log: cfg.Log,
		Limits: upstream.Limits{HoldFor: cfg.HoldFor},
	}
	if cfg.HTTP == "off" {
		gwConfig.Listen = []string{}
	}
	if cfg.AccessLog {
		gwConfig.AccessLog, gwConfig.AccessSample = os.Stdout, 1
	}
	gw, err := gateway.New(gwConfig)
	if err != nil {
		return fmt.Errorf("start gateway: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return gw.Run(ctx) })
	group.Go(func() error { return serveHTTP(ctx, control, gatewayControl(gw, metrics)) })
	return group.Wait()
}

// gatewayControl answers the agent: the gateway's metrics, its ports, and whether it is this build.
func gatewayControl(gw *gateway.Gateway, metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET "+LocalRootPath, serveLocalRoot(gw))
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %d\n", Version, os.Getpid())
	})
	mux.HandleFunc("GET /ports", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(statusOf(gw)) //nolint:errcheck // the reader is gone
	})
	return mux
}

// serveHTTP serves on l until ctx ends.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); ctx.Err() == nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// unixClient is an HTTP client of a unix socket.
func unixClient(socket string) *http.Client {
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}},
	}
}
