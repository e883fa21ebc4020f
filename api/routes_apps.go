package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
)

func (s *Server) routeApps() {
	const tag = "apps"
	handle(s, operation("GET /v1/apps", "list-apps", tag, "List the apps with their services and replicas"),
		func(ctx context.Context, _ *struct{}) ([]AppView, error) {
			apps, problems := viewApps(s.cfg.State.Snapshot()), s.cfg.Problems(ctx)
			for i := range apps {
				explain(apps[i].Services, problems)
			}
			return apps, nil
		})
	handle(s, operation("GET /v1/apps/{app}", "get-app", tag, "One app with its services and replicas"),
		func(ctx context.Context, in *AppPath) (AppView, error) {
			return s.explainedApp(ctx, s.cfg.State.Snapshot(), in.App)
		})
	handleStream(s, operation("GET /v1/apps/{app}/watch", "watch-app", tag,
		"The app now and after each change; ends when the app is gone"), s.watchApp)
	handle(s, operation("PUT /v1/apps/{app}", "deploy-app", tag, "Deploy: make the app what the body says"), s.deploy)
	handle(s, operation("DELETE /v1/apps/{app}", "remove-app", tag, "Take the app down; returns before it is gone"), s.down)
	handleStream(s, operation("GET /v1/apps/{app}/logs", "logs", tag,
		"What the app's replicas wrote, merged in the order of time"), s.appLogs)
}

// AppPath is the part of a path that names an app.
type AppPath struct {
	App string `path:"app" maxLength:"63" doc:"Name of the app"`
}

type deployInput struct {
	AppPath
	DryRun bool `query:"dryRun" doc:"Only say what would change"`
	Body   holdfast.Deployment
}

func (s *Server) deploy(ctx context.Context, in *deployInput) (Changes, error) {
	if in.Body.Name != in.App {
		return Changes{}, holdfast.Errorf(holdfast.ErrInvalid, "deployment of app %q sent to app %q", in.Body.Name, in.App)
	}
	if err := s.useImageHealth(ctx, &in.Body); err != nil {
		return Changes{}, err
	}
	out, err := s.commit(ctx, in.DryRun, func(snap *store.Snapshot, now time.Time) ([]plan.Action, error) {
		return plan.Deploy(snap, in.Body, now)
	})
	if err == nil && !in.DryRun {
		s.cfg.Images.Settle(imagesOf(in.Body))
	}
	return out, err
}

// useImageHealth gives services that name no health check the one of their image. Jobs have none: they are well when they
// end well. An image that is not here has none either.
func (s *Server) useImageHealth(ctx context.Context, d *holdfast.Deployment) error {
	for i := range d.Services {
		spec := &d.Services[i]
		if spec.Health != (holdfast.Health{}) || spec.Mode == holdfast.Job {
			continue
		}
		img, err := s.cfg.Images.Get(ctx, spec.Image)
		switch {
		case errors.Is(err, holdfast.ErrNotFound), err == nil && img.Health.Readiness == nil:
			continue
		case err != nil:
			return fmt.Errorf("service %s: %w", spec.Name, err)
		}
		spec.Health = img.Health
		p := spec.Health.Readiness
		need := p.StartPeriod + holdfast.Duration(p.Retries)*p.Interval
		spec.Update.Deadline, spec.Rollback.Deadline = max(spec.Update.Deadline, need), max(spec.Rollback.Deadline, need)
	}
	return nil
}

// imagesOf lists all images that a deployment names.
func imagesOf(d holdfast.Deployment) []string {
	var refs []string
	for i := range d.Services {
		for _, ref := range d.Services[i].ImageRefs() {
			refs = append(refs, *ref)
		}
	}
	return refs
}

type downInput struct {
	AppPath
	DryRun bool `query:"dryRun" doc:"Only say what would change"`
}

func (s *Server) down(ctx context.Context, in *downInput) (Changes, error) {
	return s.commit(ctx, in.DryRun, func(snap *store.Snapshot, now time.Time) ([]plan.Action, error) {
		if _, err := viewApp(snap, in.App); err != nil {
			return nil, err
		}
		return plan.Down(snap, in.App)
	})
}

// explainedApp is an app with what keeps clients from its services.
func (s *Server) explainedApp(ctx context.Context, snap *store.Snapshot, name string) (AppView, error) {
	v, err := viewApp(snap, name)
	explain(v.Services, s.cfg.Problems(ctx))
	return v, err
}

// watchPace bounds how often a watched app is sent: a big app changes hundreds of times a second while it starts.
const watchPace = 50 * time.Millisecond

type watchInput struct {
	AppPath
	After int64 `query:"after" doc:"Send nothing older than the first snapshot of this revision or above"`
}

func (s *Server) watchApp(ctx context.Context, in *watchInput, emit func(AppView) error) error {
	snap := s.cfg.State.Snapshot()
	if snap.Revision < in.After {
		next, err := s.cfg.State.Wait(ctx, in.After-1)
		if err != nil {
			return err
		}
		snap = next
	}
	if _, err := viewApp(snap, in.App); err != nil {
		return err
	}
	var last []byte
	for {
		v, err := s.explainedApp(ctx, snap, in.App)
		if errors.Is(err, holdfast.ErrNotFound) {
			return nil
		}
		if last, err = emitChanged(v, last, emit); err != nil {
			return err
		}
		if snap, err = s.nextPaced(ctx, snap.Revision); err != nil {
			return err
		}
	}
}

// emitChanged emits v unless it is what was emitted last, but for its revision.
func emitChanged(v AppView, last []byte, emit func(AppView) error) ([]byte, error) {
	same := v
	same.Revision = 0
	text, err := json.Marshal(same)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(text, last) {
		return last, nil
	}
	return text, emit(v)
}

// nextPaced waits for a change, and then for the pace, and returns what is there by then.
func (s *Server) nextPaced(ctx context.Context, after int64) (*store.Snapshot, error) {
	if _, err := s.cfg.State.Wait(ctx, after); err != nil {
		return nil, err
	}
	pace := time.NewTimer(watchPace)
	defer pace.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-pace.C:
		return s.cfg.State.Snapshot(), nil
	}
}
