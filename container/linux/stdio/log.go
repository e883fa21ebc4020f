package stdio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/holdfast/holdfast/container"
)

// Log writes entries to a rotated file. Safe for concurrent use by a container's streams.
type Log struct {
	opt container.Log
	now func() time.Time

	mu   sync.Mutex
	file *os.File // nil: not open
	size int64
	lost int   // entries dropped since the last one that was written
	why  error // the first of them
	buf  []byte
}

// NewLog returns a log that opens its file when there is something to write.
func NewLog(opt container.Log, now func() time.Time) *Log { return &Log{opt: opt, now: now} }

// entry is a piece of a line.
type entry struct {
	text    []byte
	partial bool
}

// write appends entries of one stream in one write.
func (l *Log) write(stream string, entries []entry) {
	if l.opt.Path == "" || len(entries) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.buf = l.buf[:0]
	if l.lost > 0 {
		text := fmt.Sprintf("holdfast: %d lines were lost: %v", l.lost, l.why)
		l.buf = appendEntry(l.buf, now, "stderr", false, []byte(text))
	}
	for _, e := range entries {
		l.buf = appendEntry(l.buf, now, stream, e.partial, e.text)
	}
	if err := l.appendLocked(); err != nil {
		if l.lost == 0 {
			l.why = err
		}
		l.lost += len(entries)
		return
	}
	l.lost, l.why = 0, nil
	const keep = 64 << 10
	if cap(l.buf) > keep {
		l.buf = nil
	}
}

// Lost counts the entries that were dropped since the last one that was written, and says why.
func (l *Log) Lost() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost, l.why
}

func (l *Log) appendLocked() error {
	if l.file == nil {
		if err := l.openLocked(); err != nil {
			return err
		}
	}
	if l.opt.MaxBytes > 0 && l.size > 0 && l.size+int64(len(l.buf)) > l.opt.MaxBytes {
		if err := l.rotateLocked(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(l.buf)
	if err != nil {
		if n > 0 { // half an entry
			err = errors.Join(err, l.file.Truncate(l.size))
		}
		return err
	}
	l.size += int64(n)
	return nil
}

func (l *Log) openLocked() error {
	f, err := os.OpenFile(l.opt.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// rotateLocked renames Path to Path.1, Path.1 to Path.2 and so on, and starts anew. At most MaxFiles files are kept.
func (l *Log) rotateLocked() error {
	name := func(i int) string {
		if i == 0 {
			return l.opt.Path
		}
		return fmt.Sprintf("%s.%d", l.opt.Path, i)
	}
	last := max(l.opt.MaxFiles, 1) - 1
	if last == 0 {
		if err := l.file.Truncate(0); err != nil {
			return err
		}
		l.size = 0
		return nil
	}
	for i := last; i > 0; i-- {
		if err := os.Rename(name(i-1), name(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	l.file.Close()
	l.file = nil
	return l.openLocked()
}

// Close closes the file. A later write opens it again.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
