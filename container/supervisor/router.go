//go:build linux

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux"
	"github.com/holdfast/holdfast/container/oci"
	"github.com/holdfast/holdfast/container/watch"
)

// router is our own runtime, and runc and crun where ParkOptions.Runtime asks for them.
type router struct {
	cfg Config
	own *linux.Runtime
	hub watch.Hub // changes of the others

	ctx    context.Context // ends with the router
	cancel context.CancelFunc

	mu     sync.Mutex
	others map[string]*oci.Runtime
}

var _ container.Runtime = (*router)(nil)

// programs are the names that ParkOptions.Runtime may have.
var programs = []string{"runc", "crun"}

// openRuntime opens our own runtime, and the others that have been in use.
func openRuntime(cfg Config) (*router, error) {
	own, err := linux.New(cfg.Runtime)
	if err != nil {
		return nil, err
	}
	r := &router{cfg: cfg, own: own, others: map[string]*oci.Runtime{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for _, name := range programs {
		if _, err := os.Stat(r.dirOf(name)); err != nil {
			continue
		}
		if _, err := r.other(name); err != nil {
			cfg.Runtime.Log.Error("open OCI runtime: its containers are not seen", "runtime", name, "err", err)
		}
	}
	return r, nil
}

func (r *router) dirOf(name string) string { return filepath.Join(r.cfg.OCIDir, name) }

// other returns runc or crun, which is opened at its first use.
func (r *router) other(name string) (*oci.Runtime, error) {
	if !slices.Contains(programs, name) {
		return nil, holdfast.Errorf(holdfast.ErrUnsupported, "runtime %q: want runc, crun or none", name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if rt := r.others[name]; rt != nil {
		return rt, nil
	}
	own := r.cfg.Runtime
	rt, err := oci.New(oci.Config{
		Program: name, Dir: r.dirOf(name), CgroupParent: path.Join(own.CgroupParent, name), BootID: own.BootID,
		Children: r.own.Children(), Log: own.Log, Now: own.Now,
	})
	if err != nil {
		return nil, err
	}
	changes, err := rt.Watch(r.ctx)
	if err != nil {
		return nil, errors.Join(err, rt.Close())
	}
	go func() {
		for s := range changes {
			r.hub.Publish(s)
		}
	}()
	r.others[name] = rt
	return rt, nil
}

// opened returns the others that are in use.
func (r *router) opened() []*oci.Runtime {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*oci.Runtime
	for _, name := range programs {
		if rt := r.others[name]; rt != nil {
			list = append(list, rt)
		}
	}
	return list
}

// of returns the runtime that has the sandbox or container; our own when none has.
func (r *router) of(ctx context.Context, id string) container.Runtime {
	for _, rt := range r.opened() {
		list, err := rt.List(ctx)
		if err == nil && slices.ContainsFunc(list, func(s container.Status) bool { return s.ID == id }) {
			return rt
		}
	}
	return r.own
}

// Close lets go of all containers.
func (r *router) Close() error {
	r.cancel()
	errs := []error{r.own.Close()}
	for _, rt := range r.opened() {
		errs = append(errs, rt.Close())
	}
	return errors.Join(errs...)
}

// Park implements container.Runtime, as do all that follow.
func (r *router) Park(ctx context.Context, opt container.ParkOptions) (container.Sandbox, error) {
	if opt.Runtime == "" {
		return r.own.Park(ctx, opt)
	}
	rt, err := r.other(opt.Runtime)
	if err != nil {
		return container.Sandbox{}, fmt.Errorf("park sandbox: %w", err)
	}
	return rt.Park(ctx, opt)
}

func (r *router) Start(ctx context.Context, spec container.Spec) (container.Status, error) {
	return r.of(ctx, spec.Sandbox).Start(ctx, spec)
}

func (r *router) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	return r.of(ctx, id).Signal(ctx, id, sig)
}

func (r *router) Kill(ctx context.Context, id string) error { return r.of(ctx, id).Kill(ctx, id) }

func (r *router) Remove(ctx context.Context, id string) error { return r.of(ctx, id).Remove(ctx, id) }

func (r *router) List(ctx context.Context) ([]container.Status, error) {
	all, err := r.own.List(ctx)
	if err != nil {
		return nil, err
	}
	others, err := r.listOthers(ctx)
	return append(all, others...), err
}

func (r *router) listOthers(ctx context.Context) (all []container.Status, err error) {
	for _, rt := range r.opened() {
		list, err := rt.List(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// Watch merges our own runtime's changes with the others'. A change of theirs at this moment may be delivered twice.
func (r *router) Watch(ctx context.Context) (<-chan container.Status, error) {
	own, err := r.own.Watch(ctx)
	if err != nil {
		return nil, err
	}
	subscribed := r.hub.Subscribe(ctx, nil)
	first, err := r.listOthers(ctx)
	if err != nil {
		return nil, err
	}
	out := make(chan container.Status)
	var sources sync.WaitGroup
	forward := func(in <-chan container.Status, first []container.Status) {
		for _, s := range first {
			select {
			case out <- s:
			case <-ctx.Done():
			}
		}
		for s := range in {
			select {
			case out <- s:
			case <-ctx.Done():
			}
		}
	}
	sources.Go(func() { forward(own, nil) })
	sources.Go(func() { forward(subscribed, first) })
	go func() {
		sources.Wait()
		close(out)
	}()
	return out, nil
}

func (r *router) Exec(ctx context.Context, id string, spec container.ExecSpec) (container.Exec, error) {
	return r.of(ctx, id).Exec(ctx, id, spec)
}

func (r *router) Attach(ctx context.Context, id string) (container.Exec, error) {
	return r.of(ctx, id).Attach(ctx, id)
}

func (r *router) Stats(ctx context.Context, id string) (container.Stats, error) {
	return r.of(ctx, id).Stats(ctx, id)
}

func (r *router) Pause(ctx context.Context, id string) error { return r.of(ctx, id).Pause(ctx, id) }

func (r *router) Resume(ctx context.Context, id string) error { return r.of(ctx, id).Resume(ctx, id) }
