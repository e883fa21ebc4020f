//go:build linux

package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast/holdfast/container"
)

// record is what is on disk of a sandbox or container.
type record struct {
	Boot      string           `json:"boot"`
	Starting  bool             `json:"starting,omitempty"` // Start has not returned: swept by the next Runtime
	Status    container.Status `json:"status"`
	Spec      container.Spec   `json:"spec"`
	StartTime uint64           `json:"startTime,omitempty"` // of process PID, in clock ticks since boot: tells it from a later one
}

// save writes the record of b: after it returns, the next Runtime knows of b whatever happens.
func (r *Runtime) save(b *box) error {
	b.Boot, b.Starting = r.cfg.BootID, b.starting
	text, err := json.Marshal(b.record)
	if err != nil {
		return fmt.Errorf("encode state of %s: %w", b.Status.ID, err)
	}
	if err := writeSynced(b.path(r, "state.json"), text); err != nil {
		return fmt.Errorf("write state of %s: %w", b.Status.ID, err)
	}
	return nil
}

// writeSynced replaces a file, whole or not at all.
func writeSynced(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// load adopts what is on disk.
func (r *Runtime) load() error {
	entries, err := os.ReadDir(r.path("box"))
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	for _, e := range entries {
		b := &box{ended: make(chan struct{})}
		b.Status.ID = e.Name()
		text, err := os.ReadFile(b.path(r, "state.json"))
		if err == nil {
			err = json.Unmarshal(text, &b.record)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.cfg.Log.Warn("state of a container is unreadable: it is removed", "container", e.Name(), "err", err)
		}
		b.Status.ID = e.Name()
		if err != nil || b.Starting || b.Boot != r.cfg.BootID {
			r.sweep(b)
			continue
		}
		r.boxes[b.Status.ID] = b
	}
	r.sweepNets()
	for _, b := range r.boxes {
		if err := r.adopt(b); err != nil {
			return fmt.Errorf("adopt container %s: %w", b.Status.ID, err)
		}
	}
	return nil
}

// sweep removes what is left of a container that did not start, or of another boot.
func (r *Runtime) sweep(b *box) {
	if err := r.discard(context.Background(), b); err != nil {
		r.cfg.Log.Warn("sweep what is left of a container", "container", b.Status.ID, "err", err)
	}
}

// sweepNets removes network namespaces that no sandbox or container has.
func (r *Runtime) sweepNets() {
	used := map[string]bool{}
	for _, b := range r.boxes {
		used[b.Status.Sandbox.ID] = true
	}
	entries, err := os.ReadDir(r.path("net"))
	if err != nil {
		r.cfg.Log.Warn("sweep network namespaces", "err", err)
	}
	for _, e := range entries {
		if !used[e.Name()] {
			if err := r.dropNet(e.Name()); err != nil {
				r.cfg.Log.Warn("sweep network namespace", "sandbox", e.Name(), "err", err)
			}
		}
	}
}

// adopt takes up a container that an earlier Runtime started.
func (r *Runtime) adopt(b *box) error {
	switch b.Status.Phase {
	case container.Parked:
		return nil
	case container.Exited:
		close(b.ended)
		return nil
	}
	out, err := r.openOutput(b)
	if err != nil {
		return err
	}
	b.out = out
	b.pidfd, err = openPID(b.Status.PID, b.StartTime)
	if err != nil {
		return err
	}
	if b.pidfd != nil {
		r.cfg.Children.Add(b.Status.PID)
	}
	r.work.Go(func() { r.follow(b) })
	return nil
}
