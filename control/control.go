// Package control is the leader's loop: it watches the state, plans and applies. Everything it knows is in the store, so
// it may die at any point; another, or its own next life, goes on from there. May import the root package, store and
// plan.
package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
)

// office is what the leader of the cluster holds.
const office = "control"

// chunk is about how many keys one transaction writes, so that nodes can begin with the first of many replicas while the
// others are still being written.
const chunk = 256

// Config is what Run needs.
type Config struct {
	Store *store.Store
	// Holder is this process's name in the cluster, for people to see.
	Holder string
	// Log gets each action and each trouble. Default: none.
	Log *slog.Logger
	// Now is the time that decisions are made at. Default: time.Now.
	Now func() time.Time
	// Seed makes the IDs of replicas repeatable. 0: random ones.
	Seed uint64
	// TTL is how long after this process died another may lead. Default: 5 s.
	TTL time.Duration
	// Resync is after how long without any change the state is planned anyway. Default: 1 min.
	Resync time.Duration
}

// Run waits until this process leads the cluster, and then keeps the cluster as it is wanted, until ctx ends; then it
// gives the lead back and returns nil. It returns an error only when the Config is wrong.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Store == nil {
		return errors.New("control: no store")
	}
	c := &controller{Config: cfg}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.TTL, c.Resync = cmp.Or(c.TTL, 5*time.Second), cmp.Or(c.Resync, time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	c.random = rand.New(rand.NewPCG(cmp.Or(cfg.Seed, rand.Uint64()), 0))
	for ctx.Err() == nil {
		if err := c.term(ctx); err != nil && ctx.Err() == nil {
			c.Log.Warn("lead the cluster", slog.Any("err", err))
			c.rest(ctx)
		}
	}
	return nil
}

type controller struct {
	Config
	random *rand.Rand
	delay  time.Duration // before the next try after an error
}

// term waits for the office and leads for as long as it is held.
func (c *controller) term(ctx context.Context) error {
	l, err := c.Store.Campaign(ctx, office, c.Holder, c.TTL)
	if err != nil {
		return err
	}
	c.Log.Info("leads the cluster")
	defer c.resign(ctx, l)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-l.Lost():
			cancel(errLost)
		case <-ctx.Done():
		}
	}()
	return c.lead(ctx, l)
}

var errLost = errors.New("no longer leads the cluster")

func (c *controller) resign(ctx context.Context, l *store.Leadership) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := l.Resign(ctx); err != nil {
		c.Log.Warn("resign", slog.Any("err", err)) // it runs out by itself
	}
}

// lead plans and applies until the office is lost or ctx ends.
func (c *controller) lead(ctx context.Context, l *store.Leadership) error {
	for {
		seen, next, err := c.step(ctx, l)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, holdfast.ErrConflict):
			return err
		case err != nil:
			c.Log.Warn("apply the plan", slog.Any("err", err))
			c.rest(ctx)
			continue
		}
		c.delay = 0
		if err := c.wait(ctx, seen, next); err != nil {
			return err
		}
	}
}

// step plans on the newest state and applies what one transaction takes. It returns the revision that the plan has seen
// and when to plan again at the latest.
func (c *controller) step(ctx context.Context, l *store.Leadership) (seen int64, next time.Time, err error) {
	var applied []plan.Action
	err = c.Store.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) error {
		var actions []plan.Action
		now := c.Now()
		actions, next = plan.Plan(snap, now, c.random)
		seen, applied = snap.Revision, first(actions)
		if len(applied) < len(actions) {
			next = now
		}
		l.Fence(tx)
		plan.Apply(tx, applied)
		return nil
	})
	if err != nil {
		return seen, next, fmt.Errorf("apply plan: %w", err)
	}
	for _, a := range applied {
		c.log(a)
	}
	return seen, next, nil
}

// first returns as many actions as one transaction takes, at least one.
func first(actions []plan.Action) []plan.Action {
	size := 0
	for i, a := range actions {
		if size += a.Size(); size > chunk && i > 0 {
			return actions[:i]
		}
	}
	return actions
}

func (c *controller) log(a plan.Action) {
	level := slog.LevelInfo
	if a.Quiet {
		level = slog.LevelDebug
	}
	c.Log.Log(context.Background(), level, a.Text, slog.String("why", a.Reason))
}

// wait returns when the state has changed since revision seen, when next has come, or after Resync.
func (c *controller) wait(ctx context.Context, seen int64, next time.Time) error {
	d := c.Resync
	if !next.IsZero() {
		d = min(d, next.Sub(c.Now()))
	}
	if d <= 0 {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if _, err := c.Store.Wait(waiting, seen); err != nil && waiting.Err() == nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// rest waits a little longer after each error in a row.
func (c *controller) rest(ctx context.Context) {
	const shortest, longest = 100 * time.Millisecond, 5 * time.Second
	c.delay = min(max(2*c.delay, shortest), longest)
	t := time.NewTimer(c.delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
