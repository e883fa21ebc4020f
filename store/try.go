package store

import (
	"sync"
	"time"
)

// tries orders Try: copying a table marks it as shared, for which the copied one is written to, too.
var tries sync.Mutex

// Try returns what s would be after change, at the next revision. Nothing is written.
func (s *Snapshot) Try(now time.Time, change func(*Tx) error) (*Snapshot, error) {
	ids := newEventIDs()
	tx := &Tx{snap: s, now: now, ids: &ids, ops: make(map[string]Op), conditions: make(map[string]int64)}
	if err := change(tx); err != nil {
		return nil, err
	}
	_, ops, err := tx.finish()
	if err != nil {
		return nil, err
	}
	st := s.thaw()
	st.revision++
	for _, op := range ops {
		if err := st.apply(Entry{Key: op.Key, Value: op.Value, Revision: st.revision}); err != nil {
			return nil, err
		}
	}
	return st.snapshot(), nil
}

// thaw returns a state that starts as s.
func (s *Snapshot) thaw() *state {
	tries.Lock()
	defer tries.Unlock()
	st := newState()
	st.revision = s.Revision
	thaw(st.apps, s.Apps)
	thaw(st.services, s.Services)
	thaw(st.releases, s.Releases)
	thaw(st.replicas, s.Replicas)
	thaw(st.statuses, s.Statuses)
	thaw(st.drains, s.Drains)
	thaw(st.nodes, s.Nodes)
	thaw(st.files, s.Files)
	thaw(st.events, s.Events)
	thaw(st.sealed, s.Sealed)
	thaw(st.leaders, s.leaders)
	thaw(st.marks, s.marks)
	return st
}

func thaw[T any](l *live[T], t Table[T]) {
	l.cells = t.(frozen[T]).cells.Copy()
}
