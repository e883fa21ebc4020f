package sim

import (
	"slices"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan"
	"github.com/holdfast/holdfast/store"
)

const app = "shop"

// do applies what a user asks for; a refused request changes nothing.
func (s *Sim) do(what string, decide func(*store.Snapshot) ([]plan.Action, error)) {
	s.update(func(snap *store.Snapshot, tx *store.Tx) error {
		actions, err := decide(snap)
		if err != nil {
			s.trace("user: %s: %v", what, err)
			return nil
		}
		s.trace("user: %s: %v", what, actions)
		plan.Apply(tx, actions)
		return nil
	})
}

// request is one of the things that users ask for.
func (s *Sim) request() {
	snap := s.store.Snapshot()
	service := []string{"web", "db", "every"}[s.random.IntN(3)]
	switch n := s.random.IntN(20); {
	case n < 7:
		s.deploy(s.anyFate(), s.random.IntN(10) == 0)
	case n < 9:
		to := s.random.IntN(5)
		s.do("scale", func(snap *store.Snapshot) ([]plan.Action, error) {
			return plan.Scale(snap, app, map[string]int{"web": to})
		})
	case n < 10:
		s.do("rollback", func(snap *store.Snapshot) ([]plan.Action, error) { return plan.Rollback(snap, app, service, 0, s.now) })
	case n < 11:
		s.do("pause", func(snap *store.Snapshot) ([]plan.Action, error) { return plan.Pause(snap, app, service) })
	case n < 13:
		s.do("resume", func(snap *store.Snapshot) ([]plan.Action, error) { return plan.Resume(snap, app, service, s.now) })
	case n < 14:
		s.do("restart", func(snap *store.Snapshot) ([]plan.Action, error) { return plan.Restart(snap, app, service, s.now) })
	case n < 15 && snap.Replicas.Len() > 0:
		s.killOne(snap)
	case n < 16:
		s.do("run job", func(snap *store.Snapshot) ([]plan.Action, error) { return plan.RunJob(snap, app, "tidy") })
	case n < 19:
		s.drain()
	default:
		s.do("down", func(snap *store.Snapshot) ([]plan.Action, error) { return plan.Down(snap, app) })
	}
}

func (s *Sim) killOne(snap *store.Snapshot) {
	var ids []string
	for id := range snap.Replicas.All("") {
		ids = append(ids, id)
	}
	id, hard := ids[s.random.IntN(len(ids))], s.random.IntN(2) == 0
	s.do("kill "+id, func(snap *store.Snapshot) ([]plan.Action, error) { return plan.Stop(snap, id, hard, s.now) })
}

// deploy deploys the app with a new image of some services.
func (s *Sim) deploy(f fate, fewer bool) {
	d := holdfast.Deployment{
		Name:     app,
		Networks: map[string]holdfast.Network{"default": {Name: "shop_default"}},
		Volumes:  map[string]holdfast.Volume{"data": {Name: "shop_data"}},
	}
	d.RemoveOrphans = fewer
	specs := s.specs(f)
	if fewer {
		specs = slices.DeleteFunc(specs, func(sp holdfast.Spec) bool { return sp.Name == "every" })
	}
	d.Services = specs
	s.do("deploy", func(snap *store.Snapshot) ([]plan.Action, error) { return plan.Deploy(snap, d, s.now) })
}

// specs returns the app's services; about half of them with a new image, which has the given fate.
func (s *Sim) specs(f fate) []holdfast.Spec {
	image := func(name string) string {
		if rel := s.current(name); rel != nil && s.random.IntN(2) == 0 {
			return rel.Spec.Image
		}
		return s.image(name, f)
	}
	web := s.spec("web", image("web"))
	web.Replicas = 3
	web.DependsOn = []holdfast.Dependency{{Service: "db", Condition: "healthy"}}
	db := s.spec("db", image("db"))
	db.Kind, db.Replicas = holdfast.Stateful, 1
	db.Mounts = []holdfast.Mount{{Type: "volume", Source: "data", Target: "/data"}}
	db.Update.Order, db.Rollback.Order = "stop-first", "stop-first"
	every := s.spec("every", image("every"))
	every.Mode = holdfast.Global
	tidy := s.spec("tidy", s.image("tidy", exitsSoon))
	if rel := s.current("tidy"); rel != nil {
		tidy.Image = rel.Spec.Image
	}
	tidy.Mode, tidy.Restart.Condition, tidy.Restart.MaxAttempts = holdfast.Job, "on-failure", 2
	return []holdfast.Spec{db, every, tidy, web}
}

func (s *Sim) current(name string) *holdfast.Release {
	snap := s.store.Snapshot()
	svc, ok := snap.Services.Get(store.ServiceKey(app, name))
	if !ok {
		return nil
	}
	rel, _ := snap.Releases.Get(store.ReleaseKey(app, name, svc.Release))
	return rel
}

func (s *Sim) spec(name, image string) holdfast.Spec {
	second := holdfast.Duration(time.Second)
	onFailure := []string{"rollback", "rollback", "pause", "continue"}[s.random.IntN(4)]
	return holdfast.Spec{
		Name: name, Kind: holdfast.Stateless, Mode: holdfast.Replicated, Image: image,
		Restart: holdfast.Restart{Condition: "any", Delay: second / 10, MaxDelay: 30 * second, Window: 10 * second},
		Update: holdfast.Update{
			Order: "start-first", Parallelism: 1 + s.random.IntN(2), Monitor: 5 * second, FailureAction: onFailure, Deadline: 20 * second,
		},
		Rollback: holdfast.Update{Order: "start-first", FailureAction: "pause", Deadline: 20 * second},
		Networks: []holdfast.Attachment{{Network: "default"}},
	}
}

// repair does what a user would: bring all agents back, open the nodes, deploy a good release and let it roll.
func (s *Sim) repair() {
	for _, n := range s.nodes {
		n.down = false
		s.update(func(snap *store.Snapshot, tx *store.Tx) error {
			open, _ := snap.Nodes.Get(n.id)
			next := *open
			next.Drained = false
			tx.Put(&next)
			return nil
		})
	}
	d := holdfast.Deployment{
		Name:     app,
		Networks: map[string]holdfast.Network{"default": {Name: "shop_default"}},
		Volumes:  map[string]holdfast.Volume{"data": {Name: "shop_data"}},
		Services: s.specs(good),
	}
	for i := range d.Services {
		sp := &d.Services[i]
		if sp.Name != "tidy" {
			sp.Image = s.image(sp.Name, good)
		}
	}
	s.do("deploy", func(snap *store.Snapshot) ([]plan.Action, error) { return plan.Deploy(snap, d, s.now) })
}
