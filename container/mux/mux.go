// Package mux makes one container.Runtime of several: a node's own, and others by the name that ParkOptions.Runtime
// gives. IDs of sandboxes and containers must be unique over all of them.
//
// May import only the root package, container and libraries.
package mux

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"syscall"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

// Config says what a Runtime is made of.
type Config struct {
	// Own runs what names no runtime.
	Own container.Runtime
	// Open opens the runtime of a name, at its first use. ErrUnsupported: there is none of that name.
	Open func(name string) (container.Runtime, error)
	// Present are the names that are opened at once, since they may have containers already. One that cannot be opened
	// is an error.
	Present []string
}

// Runtime is a container.Runtime that passes each call on to the runtime whose sandbox or container it is about.
type Runtime struct {
	cfg Config

	mu      sync.Mutex
	others  map[string]container.Runtime
	owners  map[string]container.Runtime // by ID of sandbox or container, of the others only
	watches map[*watcher]struct{}
}

var _ container.Runtime = (*Runtime)(nil)

// New opens the runtimes that are present.
func New(ctx context.Context, cfg Config) (*Runtime, error) {
	m := &Runtime{cfg: cfg, others: map[string]container.Runtime{}, owners: map[string]container.Runtime{}, watches: map[*watcher]struct{}{}}
	for _, name := range cfg.Present {
		rt, err := m.named(name)
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		list, err := rt.List(ctx)
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		for _, s := range list {
			m.owners[s.ID] = rt
		}
	}
	return m, nil
}

// Close closes those of the others that can be, not Own. Their containers go on.
func (m *Runtime) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	for _, rt := range m.others {
		if c, ok := rt.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// named returns the runtime of that name, which it opens at need.
func (m *Runtime) named(name string) (container.Runtime, error) {
	if name == "" {
		return m.cfg.Own, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if rt := m.others[name]; rt != nil {
		return rt, nil
	}
	rt, err := m.cfg.Open(name)
	if err != nil {
		return nil, err
	}
	m.others[name] = rt
	for w := range m.watches {
		w.add(rt)
	}
	return rt, nil
}

// of returns the runtime that has the sandbox or container; Own when nobody has.
func (m *Runtime) of(id string) container.Runtime {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rt := m.owners[id]; rt != nil {
		return rt
	}
	return m.cfg.Own
}

// all returns Own and the others that are open.
func (m *Runtime) all() []container.Runtime {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []container.Runtime{m.cfg.Own}
	for _, rt := range m.others {
		list = append(list, rt)
	}
	return list
}

// Park implements container.Runtime. A container's network can be shared within one runtime only.
func (m *Runtime) Park(ctx context.Context, opt container.ParkOptions) (container.Sandbox, error) {
	rt, err := m.named(opt.Runtime)
	if err != nil {
		return container.Sandbox{}, err
	}
	if opt.NetOf != "" && m.of(opt.NetOf) != rt {
		return container.Sandbox{}, holdfast.Errorf(holdfast.ErrUnsupported,
			"the network of container %s: it has another runtime than %q", opt.NetOf, opt.Runtime)
	}
	sandbox, err := rt.Park(ctx, opt)
	if err == nil && opt.Runtime != "" {
		m.mu.Lock()
		m.owners[sandbox.ID] = rt
		m.mu.Unlock()
	}
	return sandbox, err
}

// Start implements container.Runtime.
func (m *Runtime) Start(ctx context.Context, spec container.Spec) (container.Status, error) {
	rt := m.of(spec.Sandbox)
	if taken, err := m.elsewhere(ctx, spec.ID, rt); err != nil || taken {
		if err == nil {
			err = holdfast.Errorf(holdfast.ErrConflict, "container %s exists", spec.ID)
		}
		return container.Status{}, errors.Join(err, rt.Remove(ctx, spec.Sandbox)) // used up either way
	}
	if rt == m.cfg.Own {
		return rt.Start(ctx, spec)
	}
	m.mu.Lock()
	_, known := m.owners[spec.ID]
	m.owners[spec.ID] = rt // before it may be seen by a watcher
	m.mu.Unlock()
	status, err := rt.Start(ctx, spec)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.owners, spec.Sandbox)
	if err != nil && !known {
		delete(m.owners, spec.ID)
	}
	return status, err
}

// elsewhere reports whether a runtime other than rt has the container. Own's list is not asked for starts in Own: that
// finds its own.
func (m *Runtime) elsewhere(ctx context.Context, id string, rt container.Runtime) (bool, error) {
	m.mu.Lock()
	owner := m.owners[id]
	m.mu.Unlock()
	if owner != nil || rt == m.cfg.Own {
		return owner != nil && owner != rt, nil
	}
	list, err := m.cfg.Own.List(ctx)
	return slices.ContainsFunc(list, func(s container.Status) bool { return s.ID == id }), err
}

// Signal implements container.Runtime, as the rest.
func (m *Runtime) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	return m.of(id).Signal(ctx, id, sig)
}

func (m *Runtime) Kill(ctx context.Context, id string) error   { return m.of(id).Kill(ctx, id) }
func (m *Runtime) Pause(ctx context.Context, id string) error  { return m.of(id).Pause(ctx, id) }
func (m *Runtime) Resume(ctx context.Context, id string) error { return m.of(id).Resume(ctx, id) }

func (m *Runtime) Stats(ctx context.Context, id string) (container.Stats, error) {
	return m.of(id).Stats(ctx, id)
}

func (m *Runtime) Exec(ctx context.Context, id string, spec container.ExecSpec) (container.Exec, error) {
	return m.of(id).Exec(ctx, id, spec)
}

func (m *Runtime) Attach(ctx context.Context, id string) (container.Exec, error) {
	return m.of(id).Attach(ctx, id)
}

func (m *Runtime) Remove(ctx context.Context, id string) error {
	err := m.of(id).Remove(ctx, id)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.owners, id)
	}
	return err
}

func (m *Runtime) List(ctx context.Context) ([]container.Status, error) {
	var list []container.Status
	for _, rt := range m.all() {
		part, err := rt.List(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, part...)
	}
	return list, nil
}
