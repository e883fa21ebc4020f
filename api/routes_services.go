package api

import (
	"context"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

func (s *Server) routeServices() {
	const tag = "services"
	const at = "/v1/apps/{app}/services"
	handle(s, operation("GET "+at, "list-services", tag, "List an app's services"), s.services)
	handle(s, operation("GET "+at+"/{service}", "get-service", tag, "One service with its replicas"), s.service)
	handle(s, operation("GET "+at+"/{service}/releases", "list-releases", tag, "A service's releases, newest first"), s.releases)
	handle(s, operation("POST "+at+"/{service}/scale", "scale-service", tag, "Set how many replicas run"), s.scale)
	handle(s, operation("POST "+at+"/{service}/rollback", "rollback-service", tag, "Go back to an earlier release"), s.rollback)
	for _, v := range []struct {
		name, summary string
		decide        serviceVerb
	}{
		{"pause", "Hold the rollout where it is", Verbs.Pause},
		{"resume", "Let a held rollout go on", Verbs.Resume},
		{"restart", "Replace all replicas, as an update does, with the same release", Verbs.Restart},
		{"run", "Start a job once", Verbs.RunJob},
	} {
		handle(s, operation("POST "+at+"/{service}/"+v.name, v.name+"-service", tag, v.summary), s.onService(v.decide))
	}
}

// ServicePath is the part of a path that names a service.
type ServicePath struct {
	AppPath
	Service string `path:"service" maxLength:"63" doc:"Name of the service"`
}

func (s *Server) services(_ context.Context, in *AppPath) ([]ServiceView, error) {
	v, err := viewApp(s.cfg.State.Snapshot(), in.App)
	return v.Services, err
}

func (s *Server) service(_ context.Context, in *ServicePath) (ServiceView, error) {
	return viewOneService(s.cfg.State.Snapshot(), in.App, in.Service)
}

func (s *Server) releases(_ context.Context, in *ServicePath) ([]holdfast.Release, error) {
	return viewReleases(s.cfg.State.Snapshot(), in.App, in.Service)
}

type scaleInput struct {
	ServicePath
	DryRun bool `query:"dryRun" doc:"Only say what would change"`
	Body   struct {
		Replicas int `json:"replicas" minimum:"0" maximum:"10000"`
	}
}

func (s *Server) scale(ctx context.Context, in *scaleInput) (Changes, error) {
	return s.commitService(ctx, in.ServicePath, in.DryRun, func(snap *store.Snapshot, now time.Time) ([]Action, error) {
		return s.cfg.Verbs.Scale(snap, now, in.App, in.Service, in.Body.Replicas)
	})
}

type rollbackInput struct {
	ServicePath
	DryRun bool `query:"dryRun" doc:"Only say what would change"`
	Body   struct {
		Release int `json:"release,omitempty" minimum:"0" doc:"0: the last one whose rollout completed"`
	}
}

func (s *Server) rollback(ctx context.Context, in *rollbackInput) (Changes, error) {
	return s.commitService(ctx, in.ServicePath, in.DryRun, func(snap *store.Snapshot, now time.Time) ([]Action, error) {
		return s.cfg.Verbs.Rollback(snap, now, in.App, in.Service, in.Body.Release)
	})
}

type serviceVerb func(v Verbs, s *store.Snapshot, now time.Time, app, service string) ([]Action, error)

type serviceVerbInput struct {
	ServicePath
	DryRun bool `query:"dryRun" doc:"Only say what would change"`
}

func (s *Server) onService(decide serviceVerb) func(context.Context, *serviceVerbInput) (Changes, error) {
	return func(ctx context.Context, in *serviceVerbInput) (Changes, error) {
		return s.commitService(ctx, in.ServicePath, in.DryRun, func(snap *store.Snapshot, now time.Time) ([]Action, error) {
			return decide(s.cfg.Verbs, snap, now, in.App, in.Service)
		})
	}
}

// commitService commits a verb on a service that must be there; a mistyped name gets a hint.
func (s *Server) commitService(ctx context.Context, in ServicePath, dryRun bool, decide verb) (Changes, error) {
	return s.commit(ctx, dryRun, func(snap *store.Snapshot, now time.Time) ([]Action, error) {
		if _, err := viewOneService(snap, in.App, in.Service); err != nil {
			return nil, err
		}
		return decide(snap, now)
	})
}
