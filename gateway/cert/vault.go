package cert

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// vault keeps values in the cluster's store, sealed. Values sealed with another key are not there for it.
type vault struct {
	state State
	key   *sealer
	now   func() time.Time

	mu    sync.Mutex
	locks map[string]lock
}

var _ certmagic.Storage = (*vault)(nil)

func newVault(state State, keyFile string, now func() time.Time) (*vault, error) {
	key, err := openKey(keyFile)
	if err != nil {
		return nil, err
	}
	return &vault{state: state, key: key, now: now, locks: map[string]lock{}}, nil
}

// Store implements certmagic.Storage.
func (v *vault) Store(ctx context.Context, name string, value []byte) error {
	sealed := v.sealed(name, value)
	return v.state.Update(ctx, func(_ *store.Snapshot, tx *store.Tx) error {
		tx.Put(sealed)
		return nil
	})
}

func (v *vault) sealed(name string, value []byte) *holdfast.Sealed {
	return &holdfast.Sealed{Key: v.key.id, Name: name, Modified: v.now(), Data: v.key.seal(name, value)}
}

// first stores value unless there is one already, and returns the one that is there then.
func (v *vault) first(ctx context.Context, name string, value []byte) ([]byte, error) {
	sealed := v.sealed(name, value)
	err := v.state.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) error {
		if _, there := snap.Sealed.Get(store.SealedKey(v.key.id, name)); !there {
			tx.Put(sealed)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", name, err)
	}
	return v.Load(ctx, name)
}

func (v *vault) get(name string) (*holdfast.Sealed, error) {
	s, ok := v.state.Snapshot().Sealed.Get(store.SealedKey(v.key.id, name))
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return s, nil
}

// Load implements certmagic.Storage.
func (v *vault) Load(_ context.Context, name string) ([]byte, error) {
	s, err := v.get(name)
	if err != nil {
		return nil, err
	}
	return v.key.open(name, s.Data)
}

// Delete implements certmagic.Storage.
func (v *vault) Delete(ctx context.Context, name string) error {
	return v.state.Update(ctx, func(snap *store.Snapshot, tx *store.Tx) error {
		tx.Delete(&holdfast.Sealed{Key: v.key.id, Name: name})
		for _, s := range snap.Sealed.All(store.SealedKey(v.key.id, name) + "/") {
			tx.Delete(&holdfast.Sealed{Key: s.Key, Name: s.Name})
		}
		return nil
	})
}

// Exists implements certmagic.Storage.
func (v *vault) Exists(ctx context.Context, name string) bool {
	_, err := v.Stat(ctx, name)
	return err == nil
}

// List implements certmagic.Storage.
func (v *vault) List(_ context.Context, path string, recursive bool) ([]string, error) {
	prefix := strings.Trim(path, "/") + "/"
	if prefix == "/" {
		prefix = ""
	}
	var names []string
	for _, s := range v.state.Snapshot().Sealed.All(store.SealedKey(v.key.id, prefix)) {
		name := s.Name
		if i := strings.IndexByte(name[len(prefix):], '/'); i >= 0 && !recursive {
			name = name[:len(prefix)+i]
		}
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return names, nil
}

// Stat implements certmagic.Storage.
func (v *vault) Stat(_ context.Context, name string) (certmagic.KeyInfo, error) {
	if s, err := v.get(name); err == nil {
		return certmagic.KeyInfo{Key: name, Modified: s.Modified, Size: int64(len(s.Data)), IsTerminal: true}, nil
	}
	for range v.state.Snapshot().Sealed.All(store.SealedKey(v.key.id, name) + "/") {
		return certmagic.KeyInfo{Key: name}, nil
	}
	return certmagic.KeyInfo{}, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// lockTTL is how long a lock outlives the gateway that held it.
const lockTTL = 30 * time.Second

// Office is the prefix of the offices that the package's locks are.
const Office = "certificates/"

type lock struct {
	office *store.Leadership
	end    context.CancelFunc
}

// Lock implements certmagic.Locker: one gateway of the cluster at a time obtains a certificate.
func (v *vault) Lock(ctx context.Context, name string) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	office, err := v.state.Campaign(life, Office+name, rand.Text(), lockTTL)
	if !stop() || err != nil {
		end()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("lock %s: %w", name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.locks[name] = lock{office, end}
	return nil
}

// Unlock implements certmagic.Locker.
func (v *vault) Unlock(ctx context.Context, name string) error {
	v.mu.Lock()
	held, ok := v.locks[name]
	delete(v.locks, name)
	v.mu.Unlock()
	if !ok {
		return fmt.Errorf("unlock %s: it is not locked", name)
	}
	defer held.end()
	return held.office.Resign(context.WithoutCancel(ctx))
}
