package store

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/btree"

	"github.com/holdfast/holdfast"
)

// state is the mutable side of the snapshots: one goroutine applies batches to it and freezes it.
type state struct {
	revision int64
	kinds    map[string]kind

	apps     *live[holdfast.App]
	services *live[holdfast.Service]
	releases *live[holdfast.Release]
	replicas *live[holdfast.Replica]
	statuses *live[holdfast.Status]
	drains   *live[holdfast.Drain]
	nodes    *live[holdfast.Node]
	files    *live[holdfast.File]
	events   *live[holdfast.Event]
	sealed   *live[holdfast.Sealed]
	leaders  *live[leader]
	marks    *live[mark]
}

// kind is what all tables can do, whatever their type.
type kind interface {
	decode(key string, value []byte, revision int64) error
	set(key string, noun any, revision int64)
	remove(key string)
	clear()
}

func newState() *state {
	s := &state{
		apps: newLive[holdfast.App](), services: newLive[holdfast.Service](), releases: newLive[holdfast.Release](),
		replicas: newLive[holdfast.Replica](), statuses: newLive[holdfast.Status](), drains: newLive[holdfast.Drain](),
		nodes: newLive[holdfast.Node](), files: newLive[holdfast.File](), events: newLive[holdfast.Event](), sealed: newLive[holdfast.Sealed](),
		leaders: newLive[leader](), marks: newLive[mark](),
	}
	s.kinds = map[string]kind{
		appKind: s.apps, serviceKind: s.services, releaseKind: s.releases, replicaKind: s.replicas,
		statusKind: s.statuses, drainKind: s.drains, nodeKind: s.nodes, fileKind: s.files, eventKind: s.events, sealedKind: s.sealed,
		leaderKind: s.leaders, markKind: s.marks,
	}
	return s
}

// apply makes one change. An unknown kind of key is no error: a newer version wrote it.
func (s *state) apply(e Entry) error {
	name, key, _ := strings.Cut(strings.TrimPrefix(e.Key, root), "/")
	k, known := s.kinds[name]
	switch {
	case !known:
		return nil
	case e.Value == nil:
		k.remove(key)
		return nil
	}
	if err := k.decode(key, e.Value, e.Revision); err != nil {
		return fmt.Errorf("decode %s: %w", e.Key, err)
	}
	return nil
}

func (s *state) clear() {
	for _, k := range s.kinds {
		k.clear()
	}
}

func (s *state) snapshot() *Snapshot {
	return &Snapshot{
		Revision: s.revision,
		Apps:     s.apps.freeze(), Services: s.services.freeze(), Releases: s.releases.freeze(),
		Replicas: s.replicas.freeze(), Statuses: s.statuses.freeze(), Drains: s.drains.freeze(),
		Nodes: s.nodes.freeze(), Files: s.files.freeze(), Events: s.events.freeze(), Sealed: s.sealed.freeze(),
		leaders: s.leaders.freeze(), marks: s.marks.freeze(),
	}
}

// live is one table that still changes. Freezing shares its nodes; later changes copy the path that they touch.
type live[T any] struct {
	cells *btree.Map[string, cell[T]]
	last  frozen[T]
	dirty bool
}

func newLive[T any]() *live[T] {
	return &live[T]{cells: new(btree.Map[string, cell[T]]), dirty: true}
}

func (l *live[T]) freeze() Table[T] {
	if l.dirty {
		l.last, l.dirty = frozen[T]{cells: l.cells.Copy()}, false
	}
	return l.last
}

func (l *live[T]) decode(key string, value []byte, revision int64) error {
	v := new(T)
	if err := json.Unmarshal(value, v); err != nil {
		return err
	}
	l.set(key, v, revision)
	return nil
}

func (l *live[T]) set(key string, noun any, revision int64) {
	l.cells.Set(key, cell[T]{value: noun.(*T), revision: revision})
	l.dirty = true
}

func (l *live[T]) remove(key string) {
	l.cells.Delete(key)
	l.dirty = true
}

func (l *live[T]) clear() {
	l.cells, l.dirty = new(btree.Map[string, cell[T]]), true
}
