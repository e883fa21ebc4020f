package api

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast/holdfast"
)

type statsInput struct {
	App      string            `query:"app" doc:"Only this app's replicas"`
	Service  string            `query:"service" doc:"Only this service's replicas"`
	Interval holdfast.Duration `query:"interval" doc:"Time between rounds; 0 is one second"`
	Rounds   int               `query:"rounds" default:"0" minimum:"0" doc:"How many rounds; 0 goes on until the caller leaves"`
}

// stats reads the use of all replicas asked for, round after round. A replica that ended between is left out.
func (s *Server) stats(ctx context.Context, in *statsInput, emit func(Usage) error) error {
	interval := in.Interval.Std()
	if interval <= 0 {
		interval = time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for round := 1; ; round++ {
		u, err := s.usage(ctx, in)
		if err != nil {
			return err
		}
		if err := emit(u); err != nil {
			return err
		}
		if round == in.Rounds {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *Server) usage(ctx context.Context, in *statsInput) (Usage, error) {
	u := Usage{Time: s.cfg.Now(), Replicas: []ReplicaUsage{}}
	for _, r := range viewReplicas(s.cfg.State.Snapshot(), in.App, in.Service, false) {
		if r.Status.Started.IsZero() {
			continue
		}
		st, err := s.cfg.Processes.Stats(ctx, r.ID)
		if errors.Is(err, holdfast.ErrNotFound) {
			continue
		}
		if err != nil {
			return u, err
		}
		u.Replicas = append(u.Replicas, ReplicaUsage{ID: r.ID, App: r.App, Service: r.Service, Slot: r.Slot, Node: r.Node, Stats: st})
	}
	return u, nil
}
