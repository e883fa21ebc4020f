package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holdfast/holdfast"
)

// Config is what the API serves. All fields must be set, but for those with a default.
type Config struct {
	State     State
	Processes Processes
	Logs      Logs
	Copier    Copier
	Images    Images
	Volumes   Volumes
	Router    Router
	Metrics   http.Handler // Prometheus text
	Info      func() Info
	// Problems tells what keeps clients from this node's services; it must be quick. Default: nothing.
	Problems func(context.Context) []Problem
	Log      *slog.Logger
	Now      func() time.Time // default time.Now
}

// Validate reports the first field that is missing.
func (c Config) Validate() error {
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"State", c.State == nil},
		{"Processes", c.Processes == nil},
		{"Logs", c.Logs == nil},
		{"Copier", c.Copier == nil},
		{"Images", c.Images == nil},
		{"Volumes", c.Volumes == nil},
		{"Router", c.Router == nil},
		{"Metrics", c.Metrics == nil},
		{"Info", c.Info == nil},
		{"Log", c.Log == nil},
	} {
		if f.missing {
			return holdfast.Errorf(holdfast.ErrInvalid, "api config: %s is not set", f.name)
		}
	}
	return nil
}

// Server answers the API's requests.
type Server struct {
	cfg Config
	mux *http.ServeMux
	api huma.API
}

// New returns a server. ErrInvalid when cfg is not complete.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Problems == nil {
		cfg.Problems = func(context.Context) []Problem { return nil }
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	s.api = humago.New(s.mux, document())
	s.routeSystem()
	s.routeApps()
	s.routeServices()
	s.routeReplicas()
	s.routeProcesses()
	s.routeImages()
	s.routeVolumes()
	return s, nil
}

// Handler returns the whole API as a handler.
func (s *Server) Handler() http.Handler { return s.mux }

// Serve answers on l until ctx ends; then streams end, connections to processes are cut, and nothing is left running
// of it. It returns nil when ctx ended, and closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn),
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	err := srv.Serve(l)
	if !stop() {
		<-done
	}
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// document is the OpenAPI document before its operations are registered.
func document() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "Holdfast",
				Version: "1",
				Description: "The API of one Holdfast agent, on a unix socket that only root may use. " +
					"Errors are RFC 9457 problems; `type` is `" + problemType + "` and one of invalid, not-found, conflict, " +
					"unavailable, unsupported, internal. Streams are lines of JSON; one that fails ends with the line " +
					"`{\"error\": <problem>}`.",
			},
			Components: &huma.Components{Schemas: registry},
		},
		OpenAPIPath:                  "/openapi",
		Formats:                      huma.DefaultFormats,
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
}
