package gateway

import (
	"log/slog"
	"reflect"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/gateway/filter"
	"github.com/holdfast/holdfast/gateway/route"
	"github.com/holdfast/holdfast/store"
)

// filters keeps the chains of routes from one table to the next: a chain counts, and is made anew only when its rules
// change. Used by one goroutine.
type filters struct {
	now  func() time.Time
	log  *slog.Logger
	made map[string]madeChain // by backend
}

type madeChain struct {
	spec  *holdfast.Route
	chain *filter.Chain
}

// attach gives the routes of a table, which nothing serves yet, their chains.
func (f *filters) attach(t *route.Table, snap *store.Snapshot) {
	made := make(map[string]madeChain, len(f.made))
	for _, r := range t.Routes {
		if !filter.Needed(r.Spec) {
			continue
		}
		m, ok := f.made[r.Backend.Key]
		if !ok || m.spec != r.Spec && !reflect.DeepEqual(m.spec, r.Spec) {
			m, ok = f.compile(r, snap)
		}
		if ok { // one that failed is tried again: a file may come later
			made[r.Backend.Key] = m
		}
		r.Filter = m.chain
	}
	f.made = made
}

func (f *filters) compile(r *route.Route, snap *store.Snapshot) (madeChain, bool) {
	chain, err := filter.Compile(r.Spec, filter.Options{
		File: func(ref holdfast.FileRef) ([]byte, bool) {
			file, ok := snap.Files.Get(store.FileKey(r.Backend.App, ref.Name, ref.Digest))
			if !ok {
				return nil, false
			}
			return file.Data, true
		},
		Normal: route.Path,
		Now:    f.now,
	})
	if err != nil {
		f.log.Error("compile route", "app", r.Backend.App, "service", r.Backend.Service, "route", r.String(), "err", err)
		return madeChain{chain: filter.Broken()}, false
	}
	return madeChain{spec: r.Spec, chain: chain}, true
}
