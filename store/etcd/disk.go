package etcd

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// Space that is kept free or allocated ahead, so that no write of etcd itself ever meets a full disk: etcd ends its
// process when one does.
const (
	reserveBytes = segmentBytes + 8<<20 // below this, commits are refused
	aheadBytes   = 8 << 20              // allocated behind the end of the database file
)

// disk watches over the file system that holds the member's files.
type disk struct {
	dir    string
	db     string
	unlock func()

	mu    sync.Mutex
	ahead int64 // size of the database file up to which its blocks are allocated
}

func newDisk(dir string) *disk {
	return &disk{dir: dir, db: filepath.Join(dir, "etcd", "member", "snap", "db")}
}

// check returns ErrUnavailable when too little space is left to write safely.
func (d *disk) check() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(d.dir, &fs); err != nil {
		return holdfast.Errorf(holdfast.ErrUnavailable, "look at the disk of %s: %w", d.dir, err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	if free < reserveBytes {
		return holdfast.Errorf(holdfast.ErrUnavailable,
			"disk of %s is full: %d KiB free, %d KiB needed to write state", d.dir, free>>10, int64(reserveBytes)>>10)
	}
	d.allocate()
	return nil
}

// allocate reserves blocks behind the end of the database file. File systems that cannot are left alone: there the
// reserve of free space alone must do.
func (d *disk) allocate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(d.db)
	if err != nil || info.Size()+aheadBytes/2 <= d.ahead {
		return
	}
	f, err := os.OpenFile(d.db, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	d.ahead = info.Size() + aheadBytes
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, d.ahead)
}

// lockDir makes sure that one process at a time runs a member in dir. etcd itself would wait for ever.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, holdfast.Errorf(holdfast.ErrConflict, "another process uses it")
		}
		return nil, err
	}
	return func() { f.Close() }, nil
}
