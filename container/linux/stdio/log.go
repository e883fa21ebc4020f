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

// write appends entries of one stream.
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
	waiting := 0 // entries in buf
	for _, e := range entries {
		before := len(l.buf)
		l.buf = appendEntry(l.buf, now, stream, e.partial, e.text)
		if waiting > 0 && l.fullLocked(len(l.buf)) {
			l.flushLocked(l.buf[:before], waiting)
			l.buf = append(l.buf[:0], l.buf[before:]...)
			waiting = 0
		}
		waiting++
	}
	l.flushLocked(l.buf, waiting)
	const keep = 64 << 10
	if cap(l.buf) > keep {
		l.buf = nil
	}
}

// flushLocked writes count entries, or counts them as lost.
func (l *Log) flushLocked(data []byte, count int) {
	if err := l.appendLocked(data); err != nil {
		if l.lost == 0 {
			l.why = err
		}
		l.lost += count
		return
	}
	l.lost, l.why = 0, nil
}

func (l *Log) fullLocked(more int) bool {
	return l.opt.MaxBytes > 0 && l.size+int64(more) > l.opt.MaxBytes
}

// Lost counts the entries that were dropped since the last one that was written, and says why.
func (l *Log) Lost() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost, l.why
}

func (l *Log) appendLocked(data []byte) error {
	if l.file == nil {
		if err := l.openLocked(); err != nil {
			return err
		}
	}
	if l.size > 0 && l.fullLocked(len(data)) {
		if err := l.rotateLocked(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(data)
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
