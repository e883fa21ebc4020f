package mux

import (
	"context"
	"sync"

	"github.com/holdfast/holdfast/container"
)

// watcher merges the changes of all runtimes, of those too that are opened later.
type watcher struct {
	ctx     context.Context // of the watch, which add belongs to
	out     chan container.Status
	sources sync.WaitGroup
}

// Watch implements container.Runtime.
func (m *Runtime) Watch(ctx context.Context) (<-chan container.Status, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := &watcher{ctx: ctx, out: make(chan container.Status)}
	own, err := m.cfg.Own.Watch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	w.forward(own)
	m.mu.Lock()
	for _, rt := range m.others {
		w.add(rt)
	}
	m.watches[w] = struct{}{}
	m.mu.Unlock()
	go func() {
		<-ctx.Done()
		cancel()
		m.mu.Lock()
		delete(m.watches, w) // nobody adds to it any more
		m.mu.Unlock()
		w.sources.Wait()
		close(w.out)
	}()
	return w.out, nil
}

// add takes in the changes of another runtime. One that fails now has nothing to tell: it was just opened.
func (w *watcher) add(rt container.Runtime) {
	if changes, err := rt.Watch(w.ctx); err == nil {
		w.forward(changes)
	}
}

func (w *watcher) forward(changes <-chan container.Status) {
	w.sources.Go(func() {
		for s := range changes {
			select {
			case w.out <- s:
			case <-w.ctx.Done():
				return
			}
		}
	})
}
