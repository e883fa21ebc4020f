package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/image/erofs"
)

// Options of a store. The zero value is good.
type Options struct {
	Log *slog.Logger // nil discards
	// Platform of the images that are run; default: this machine's.
	Platform v1.Platform
	// PlainDirs unpacks to directories even where the kernel mounts EROFS files.
	PlainDirs bool
	// Parallel is how many layers of one image are downloaded at a time; default 4.
	Parallel int
	// Attempts is how often a download that broke off is taken up again; default 5.
	Attempts int
	// Backoff is the wait before the second attempt, doubled with each; default 300ms.
	Backoff time.Duration
	// Stall is how long a download may deliver nothing before it counts as broken off; default 30s.
	Stall time.Duration
	// Grace is how long content that no image names yet is kept, for pushes and pulls that go on later; default 1h.
	Grace     time.Duration
	Transport http.RoundTripper // to registries; default: http.DefaultTransport
	Insecure  []string          // registries (host:port) without TLS, beside those on this machine
	Now       func() time.Time  // default time.Now
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Platform.OS == "" {
		o.Platform = v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	o.Parallel = defaultTo(o.Parallel, 4)
	o.Attempts = defaultTo(o.Attempts, 5)
	o.Backoff = defaultTo(o.Backoff, 300*time.Millisecond)
	o.Stall = defaultTo(o.Stall, 30*time.Second)
	o.Grace = defaultTo(o.Grace, time.Hour)
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func defaultTo[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Store is a node's images. One process has it open at a time. Safe for concurrent use.
type Store struct {
	dir   string
	opt   Options
	plain bool
	locks keyLocks

	mu     sync.Mutex // guards what follows; held by no one who waits for I/O but of the index
	idx    index
	leases map[string]int // digests and root file systems that must not be collected now

	lock *os.File
}

// Folders of a store.
const (
	blobDir    = "blobs/sha256"
	partialDir = "partial" // what interrupted downloads have so far, by digest
	rootfsDir  = "rootfs"
	uploadDir  = "uploads"
	tmpDir     = "tmp"
)

// Open opens the store in dir, which it makes if need be. ErrConflict when another process has it open.
func Open(dir string, opt Options) (*Store, error) {
	s := &Store{dir: dir, opt: opt.withDefaults(), leases: map[string]int{}}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open image store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := s.lockDir(); err != nil {
		return err
	}
	// What a process that was killed left here belongs to nothing.
	for _, stale := range []string{tmpDir, uploadDir} {
		if err := os.RemoveAll(s.path(stale)); err != nil {
			return err
		}
	}
	for _, sub := range []string{blobDir, partialDir, rootfsDir, uploadDir, tmpDir} {
		if err := os.MkdirAll(s.path(sub), 0o700); err != nil {
			return err
		}
	}
	var err error
	if s.idx, err = readIndex(s.path(indexFile)); err != nil {
		return err
	}
	s.plain, err = s.probe()
	return err
}

// probe decides whether root file systems are plain directories. The file system counts as much as the kernel.
func (s *Store) probe() (plain bool, err error) {
	if s.opt.PlainDirs {
		return true, nil
	}
	err = erofs.Probe(s.path(tmpDir))
	switch {
	case errors.Is(err, holdfast.ErrUnsupported):
		s.opt.Log.Info("images are unpacked to plain directories", "reason", err)
		return true, nil
	case isFull(err): // nothing can be tried: go on as before
		for _, rec := range s.idx.Images {
			return strings.HasSuffix(rec.Rootfs, plainSuffix), nil
		}
	}
	return false, err
}

func (s *Store) lockDir() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return holdfast.Errorf(holdfast.ErrConflict, "another process has it open")
	}
	s.lock = f
	return nil
}

// Close lets another process open the store. Calls under way must have returned.
func (s *Store) Close() error { return s.lock.Close() }

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// Hold keeps the image with the given digest from being collected until the returned function is called: from the
// moment an image is chosen for a container until something that Prune's keep knows names it.
func (s *Store) Hold(digest string) (release func()) {
	return s.hold(digest)
}

// hold keeps content and root file systems with these names from being collected.
func (s *Store) hold(names ...string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.leases[name]++
	}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, name := range names {
			if s.leases[name]--; s.leases[name] == 0 {
				delete(s.leases, name)
			}
		}
	})
}

// keyLocks are mutexes by name that one can give up waiting for.
type keyLocks struct {
	mu    sync.Mutex
	locks map[string]*keyLock
}

type keyLock struct {
	held    chan struct{} // holds a token while free
	waiters int
}

// lock waits until it has the lock of key, or for ctx. waiting, when not nil, is called once if it has to wait.
func (k *keyLocks) lock(ctx context.Context, key string, waiting func()) (unlock func(), err error) {
	k.mu.Lock()
	l := k.locks[key]
	if l == nil {
		if k.locks == nil {
			k.locks = map[string]*keyLock{}
		}
		l = &keyLock{held: make(chan struct{}, 1)}
		l.held <- struct{}{}
		k.locks[key] = l
	}
	l.waiters++
	k.mu.Unlock()
	select {
	case <-l.held:
		return func() { l.held <- struct{}{}; k.leave(key, l) }, nil
	default:
	}
	if waiting != nil {
		waiting()
	}
	select {
	case <-l.held:
		return func() { l.held <- struct{}{}; k.leave(key, l) }, nil
	case <-ctx.Done():
		k.leave(key, l)
		return nil, context.Cause(ctx)
	}
}

func (k *keyLocks) leave(key string, l *keyLock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.waiters--; l.waiters == 0 {
		delete(k.locks, key)
	}
}
