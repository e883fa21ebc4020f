package api

import (
	"context"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
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
		{"pause", "Hold the rollout where it is", func(s *store.Snapshot, _ time.Time, app, service string) ([]plan.Action, error) {
			return plan.Pause(s, app, service)
		}},
		{"resume", "Let a held rollout go on", func(s *store.Snapshot, now time.Time, app, service string) ([]plan.Action, error) {
			return plan.Resume(s, app, service, now)
		}},
		{"restart", "Replace all replicas, as an update does, with the same release", func(s *store.Snapshot, now time.Time, app, service string) ([]plan.Action, error) {
			return plan.Restart(s, app, service, now)
		}},
		{"run", "Start a job once", func(s *store.Snapshot, _ time.Time, app, service string) ([]plan.Action, error) {
			return plan.RunJob(s, app, service)
		}},
	} {
		handle(s, operation("POST "+at+"/{service}/"+v.name, v.name+"-service", tag, v.summary), s.onService(v.decide))
	}
}

// ServicePath is the part of a path that names a service.
type ServicePath struct {
	AppPath
	Service string `path:"service" maxLength:"63" doc:"Name of the service"`
}

func (s *Server) services(ctx context.Context, in *AppPath) ([]ServiceView, error) {
	v, err := s.explainedApp(ctx, s.cfg.State.Snapshot(), in.App)
	return v.Services, err
}

func (s *Server) service(ctx context.Context, in *ServicePath) (ServiceView, error) {
	v, err := viewOneService(s.cfg.State.Snapshot(), in.App, in.Service)
	one := []ServiceView{v}
	explain(one, s.cfg.Problems(ctx))
	return one[0], err
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
	return s.commitService(ctx, in.ServicePath, in.DryRun, func(snap *store.Snapshot, now time.Time) ([]plan.Action, error) {
		return plan.Scale(snap, in.App, map[string]int{in.Service: in.Body.Replicas})
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
	return s.commitService(ctx, in.ServicePath, in.DryRun, func(snap *store.Snapshot, now time.Time) ([]plan.Action, error) {
		return plan.Rollback(snap, in.App, in.Service, in.Body.Release, now)
	})
}

type serviceVerb func(s *store.Snapshot, now time.Time, app, service string) ([]plan.Action, error)

type serviceVerbInput struct {
	ServicePath
	DryRun bool `query:"dryRun" doc:"Only say what would change"`
}

func (s *Server) onService(decide serviceVerb) func(context.Context, *serviceVerbInput) (Changes, error) {
	return func(ctx context.Context, in *serviceVerbInput) (Changes, error) {
		return s.commitService(ctx, in.ServicePath, in.DryRun, func(snap *store.Snapshot, now time.Time) ([]plan.Action, error) {
			return decide(snap, now, in.App, in.Service)
		})
	}
}

// commitService commits a verb on a service that must be there; a mistyped name gets a hint.
func (s *Server) commitService(ctx context.Context, in ServicePath, dryRun bool, decide verb) (Changes, error) {
	return s.commit(ctx, dryRun, func(snap *store.Snapshot, now time.Time) ([]plan.Action, error) {
		if _, err := viewOneService(snap, in.App, in.Service); err != nil {
			return nil, err
		}
		return decide(snap, now)
	})
}
