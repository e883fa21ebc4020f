package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast/holdfast"
)

// Info describes a volume.
type Info struct {
	Name       string            `json:"name"`
	DriverOpts map[string]string `json:"driverOpts,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Created    time.Time         `json:"created"`
	// Replica is the one that an anonymous volume belongs to and goes with; "" for a named one.
	Replica string   `json:"replica,omitempty"`
	Path    string   `json:"path,omitempty"`  // of its data on this node
	Users   []string `json:"users,omitempty"` // replicas, sorted
}

// Store is this node's volumes. One per directory and machine; safe for concurrent use.
type Store struct {
	dir string
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex // guards locks
	locks map[string]*volumeLock
}

type volumeLock struct {
	sync.Mutex
	waiters int
}

// Open opens the store in dir, which it makes, and clears away what a crash left half done. Log may be nil.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.Default()
	}
	s := &Store{dir: dir, log: log, now: time.Now, locks: map[string]*volumeLock{}}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	if err := s.clear(); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	return s, nil
}

func (s *Store) clear() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), gonePrefix) {
			if err := removeTree(path); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	newPrefix  = ".new-"
	gonePrefix = ".gone-"
	infoFile   = "volume.json"
	dataDir    = "_data"
	usersDir   = "users"
)

var goodName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}$`)

func checkName(kind, name string) error {
	if !goodName.MatchString(name) {
		return holdfast.Errorf(holdfast.ErrInvalid, "%s name %q: want letters, digits, _ . and -, starting with a letter or digit", kind, name)
	}
	return nil
}

// lock serialises what is done to one volume.
func (s *Store) lock(name string) (unlock func()) {
	s.mu.Lock()
	l := s.locks[name]
	if l == nil {
		l = &volumeLock{}
		s.locks[name] = l
	}
	l.waiters++
	s.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.waiters--; l.waiters == 0 {
			delete(s.locks, name)
		}
	}
}

func (s *Store) root(name string) string { return filepath.Join(s.dir, name) }
func (s *Store) data(name string) string { return filepath.Join(s.dir, name, dataDir) }

// Ensure makes volume v if it is not there, and mounts it if it has driver options, and returns the path of its data.
// An empty volume that nobody uses is filled by fill, unless that is nil. ErrNotFound for an external volume that is
// not there; ErrConflict when one of that name has other driver options. With an error v is as it was before.
func (s *Store) Ensure(ctx context.Context, v holdfast.Volume, fill Fill) (path string, err error) {
	if err := checkName("volume", v.Name); err != nil {
		return "", err
	}
	defer s.lock(v.Name)()
	return s.ensureLocked(ctx, v, "", fill)
}

// Acquire is Ensure on behalf of a replica, which then uses v until Release.
func (s *Store) Acquire(ctx context.Context, v holdfast.Volume, replica string, fill Fill) (path string, err error) {
	if err := errors.Join(checkName("volume", v.Name), checkName("replica", replica)); err != nil {
		return "", err
	}
	defer s.lock(v.Name)()
	if path, err = s.ensureLocked(ctx, v, "", fill); err != nil {
		return "", err
	}
	if err := s.addUser(v.Name, replica); err != nil {
		return "", err
	}
	return path, nil
}

// AcquireAnonymous is Acquire of a volume that has no name and belongs to the replica: it goes when the replica is
// released. Target is where the replica sees it: each target has its own.
func (s *Store) AcquireAnonymous(ctx context.Context, replica, target string, fill Fill) (path string, err error) {
	if err := checkName("replica", replica); err != nil {
		return "", err
	}
	v := holdfast.Volume{Name: anonymousName(replica, target)}
	defer s.lock(v.Name)()
	if path, err = s.ensureLocked(ctx, v, replica, fill); err != nil {
		return "", err
	}
	if err := s.addUser(v.Name, replica); err != nil {
		return "", err
	}
	return path, nil
}

func (s *Store) ensureLocked(ctx context.Context, v holdfast.Volume, replica string, fill Fill) (string, error) {
	m, err := parseOptions(v)
	if err != nil {
		return "", err
	}
	info, err := s.read(v.Name)
	fresh := errors.Is(err, fs.ErrNotExist)
	switch {
	case err == nil && !maps.Equal(info.DriverOpts, v.DriverOpts) && !v.External:
		return "", holdfast.Errorf(holdfast.ErrConflict, "volume %s exists with other driver options; remove it first, or name another", v.Name)
	case err == nil && v.External:
		if m, err = parseOptions(holdfast.Volume{Name: v.Name, DriverOpts: info.DriverOpts}); err != nil {
			return "", err
		}
	case fresh && v.External:
		return "", holdfast.Errorf(holdfast.ErrNotFound, "external volume %s is not on this node", v.Name)
	case fresh:
		err = s.create(Info{Name: v.Name, DriverOpts: v.DriverOpts, Labels: v.Labels, Created: s.now().UTC(), Replica: replica})
	}
	if err != nil {
		return "", fmt.Errorf("make volume %s: %w", v.Name, err)
	}
	if err := m.mount(ctx, s.data(v.Name)); err != nil {
		err = fmt.Errorf("mount volume %s: %w", v.Name, err)
		if fresh {
			err = errors.Join(err, s.removeLocked(v.Name))
		}
		return "", err
	}
	if err := recoverFill(s.data(v.Name)); err != nil {
		return "", fmt.Errorf("recover volume %s: %w", v.Name, err)
	}
	if fill != nil {
		if err := s.fill(ctx, v.Name, fill); err != nil {
			return "", fmt.Errorf("fill volume %s from the image: %w", v.Name, err)
		}
	}
	return s.data(v.Name), nil
}

// create makes a whole volume aside and renames it into place.
func (s *Store) create(info Info) error {
	tmp, err := os.MkdirTemp(s.dir, newPrefix)
	if err != nil {
		return err
	}
	err = func() error {
		if err := os.Chmod(tmp, 0o711); err != nil {
			return err
		}
		for _, dir := range []string{dataDir, usersDir} {
			if err := os.Mkdir(filepath.Join(tmp, dir), 0o755); err != nil {
				return err
			}
		}
		text, err := json.MarshalIndent(info, "", "\t")
		if err != nil {
			return err
		}
		if err := writeSync(filepath.Join(tmp, infoFile), append(text, '\n')); err != nil {
			return err
		}
		if err := syncDir(tmp); err != nil {
			return err
		}
		return os.Rename(tmp, s.root(info.Name))
	}()
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return syncDir(s.dir)
}

func (s *Store) read(name string) (Info, error) {
	text, err := os.ReadFile(filepath.Join(s.root(name), infoFile))
	if err != nil {
		return Info{}, err
	}
	var info Info
	if err := json.Unmarshal(text, &info); err != nil {
		return Info{}, fmt.Errorf("read %s of volume %s: %w", infoFile, name, err)
	}
	info.Path = s.data(name)
	info.Users, err = s.users(name)
	return info, err
}

func (s *Store) users(name string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.root(name), usersDir))
	if err != nil {
		return nil, err
	}
	var users []string
	for _, e := range entries {
		users = append(users, e.Name())
	}
	return users, nil // sorted by ReadDir
}

// addUser need not be on disk: after a power cut nobody uses anything.
func (s *Store) addUser(name, replica string) error {
	f, err := os.Create(filepath.Join(s.root(name), usersDir, replica))
	if err != nil {
		return fmt.Errorf("note that replica %s uses volume %s: %w", replica, name, err)
	}
	return f.Close()
}

// Inspect returns one volume. ErrNotFound when it is not there.
func (s *Store) Inspect(name string) (Info, error) {
	if err := checkName("volume", name); err != nil {
		return Info{}, err
	}
	info, err := s.read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, holdfast.Errorf(holdfast.ErrNotFound, "volume %s is not on this node", name)
	}
	return info, err
}

// List returns all volumes by name.
func (s *Store) List() ([]Info, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var out []Info
	for _, e := range entries {
		if !goodName.MatchString(e.Name()) {
			continue
		}
		info, err := s.read(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile, or not ours
		}
		if err != nil {
			return nil, fmt.Errorf("list volumes: %w", err)
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
