package api

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast/holdfast"
)

type statsInput struct {
	App      string `query:"app" doc:"Only this app's replicas"`
	Service  string `query:"service" doc:"Only this service's replicas"`
	Interval string `query:"interval" default:"1s" doc:"Time between rounds, as 1m30s"`
	Rounds   int    `query:"rounds" default:"0" minimum:"0" doc:"How many rounds; 0 goes on until the caller leaves"`
}

// stats reads the use of all replicas asked for, round after round. A replica that ended between is left out.
func (s *Server) stats(ctx context.Context, in *statsInput, emit func(Usage) error) error {
	interval, err := time.ParseDuration(in.Interval)
	if err != nil || interval <= 0 {
		return holdfast.Errorf(holdfast.ErrInvalid, "interval %q: want a duration like 1s", in.Interval)
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
