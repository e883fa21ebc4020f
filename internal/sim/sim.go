// Package sim simulates a cluster: the planner decides, simulated nodes obey, crash and report late, users deploy good
// and bad releases, scale, drain and kill, commits fail or are overtaken; and after every step the promises of package
// plan are checked. One goroutine steps it all, from one seed, so that a run that fails can be run again.
package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
	"github.com/holdfast/holdfast/store/mem"
)

// Config of a run.
type Config struct {
	Seed  uint64
	Steps int // of faults and requests, before all must settle
	// Tamper, when not nil, changes what the planner sees: a planted bug.
	Tamper func(*store.Snapshot) *store.Snapshot
	// Trace, when not nil, is told of every step.
	Trace func(format string, args ...any)
}

// Sim is one run.
type Sim struct {
	cfg    Config
	random *rand.Rand
	ids    *rand.Rand
	store  *store.Store
	kv     *faultyKV
	now    time.Time
	next   time.Time // that the planner named
	nodes  []*node
	bad    map[string]fate // what becomes of replicas, by image
}

// Run runs a simulation. Its error says which promise was broken, and when.
func Run(cfg Config) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &Sim{
		cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 1)), ids: rand.New(rand.NewPCG(cfg.Seed, 2)),
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), bad: make(map[string]fate),
	}
	s.kv = &faultyKV{KV: mem.New()}
	defer s.kv.Close()
	var err error
	if s.store, err = store.Open(ctx, s.kv, store.WithNow(func() time.Time { return s.now })); err != nil {
		return err
	}
	if err := s.run(); err != nil {
		return fmt.Errorf("seed %d, at %v: %w", cfg.Seed, s.now.Format("15:04:05.000"), err)
	}
	return nil
}

func (s *Sim) run() error {
	s.addNodes()
	s.kv.fault = s.fault
	for step := range s.cfg.Steps {
		if err := s.step(); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
	}
	s.kv.fault = nil
	return s.settle()
}

// step does one thing, whoever's turn it is.
func (s *Sim) step() error {
	switch n := s.random.IntN(100); {
	case n < 35:
		return s.plan()
	case n < 75:
		s.node().act(s)
	case n < 80:
		s.node().misfortune(s)
	case n < 90:
		s.wait(time.Duration(s.random.ExpFloat64() * float64(2*time.Second)))
	case n < 92 && !s.next.IsZero():
		s.wait(s.next.Sub(s.now))
	default:
		s.request()
	}
	return nil
}

func (s *Sim) wait(d time.Duration) {
	if d > 0 {
		s.trace("wait %v", d)
		s.now = s.now.Add(d)
	}
}

func (s *Sim) trace(format string, args ...any) {
	if s.cfg.Trace != nil {
		s.cfg.Trace(format, args...)
	}
}

func (s *Sim) node() *node { return s.nodes[s.random.IntN(len(s.nodes))] }

// plan plans and applies once, as the leader does, and checks what came of it.
func (s *Sim) plan() error {
	var before *store.Snapshot
	var actions []plan.Action
	err := s.store.Update(context.Background(), func(snap *store.Snapshot, tx *store.Tx) error {
		before = snap
		if s.cfg.Tamper != nil {
			snap = s.cfg.Tamper(snap)
		}
		actions, s.next = plan.Plan(snap, s.now, s.ids)
		plan.Apply(tx, actions)
		return nil
	})
	if err != nil {
		s.trace("plan: %v", err)
		s.catchUp()
		if !errors.Is(err, holdfast.ErrUnavailable) {
			return err
		}
		return nil
	}
	for _, a := range actions {
		s.trace("plan: %v", a)
	}
	return check(before, s.store.Snapshot())
}

// update writes what a node or a user changes. A failed commit is theirs to try again: they do so at their next turn.
func (s *Sim) update(change func(*store.Snapshot, *store.Tx) error) {
	if err := s.store.Update(context.Background(), change); err != nil {
		s.trace("update: %v", err)
		s.catchUp()
	}
}

// catchUp waits for the snapshot that shows a commit whose answer was lost: otherwise a run could not be repeated.
func (s *Sim) catchUp() {
	_, _ = s.store.Wait(context.Background(), s.kv.last-1) // the store lives as long as the run
}

// settle ends all faults, repairs what a user has to repair, and expects that everything comes to rest as wanted.
func (s *Sim) settle() error {
	s.trace("settle")
	s.repair()
	const patience = 2000
	for range patience {
		before := s.store.Snapshot().Revision
		if err := s.plan(); err != nil {
			return err
		}
		for _, n := range s.nodes {
			n.actAll(s)
		}
		if s.store.Snapshot().Revision != before {
			continue
		}
		if s.next.IsZero() {
			return s.atRest()
		}
		s.wait(s.next.Sub(s.now))
	}
	return fmt.Errorf("still busy after %d rounds", patience)
}

// faultyKV lets something happen just before a commit, or makes it fail.
type faultyKV struct {
	store.KV
	fault func() error
	busy  bool
	last  int64 // revision of the newest commit
}

var errLostAnswer = errors.New("the answer is lost")

func (kv *faultyKV) Commit(ctx context.Context, conditions []store.Condition, ops []store.Op) (int64, error) {
	var err error
	if kv.fault != nil && !kv.busy {
		kv.busy = true
		err = kv.fault()
		kv.busy = false
	}
	if err != nil && !errors.Is(err, errLostAnswer) {
		return 0, err
	}
	revision, failed := kv.KV.Commit(ctx, conditions, ops)
	if failed == nil {
		kv.last = revision
	}
	if failed == nil && err != nil {
		return 0, holdfast.Errorf(holdfast.ErrUnavailable, "commit: %w", err)
	}
	return revision, failed
}

// fault is what goes wrong with a commit.
func (s *Sim) fault() error {
	switch n := s.random.IntN(100); {
	case n < 3:
		return holdfast.Errorf(holdfast.ErrUnavailable, "the store is away")
	case n < 6:
		return errLostAnswer
	case n < 16: // somebody else writes first
		s.node().act(s)
	}
	return nil
}
