// Package logs reads the log files that containers leave, in the format of container.Log: rotated files of one JSON
// object a line, the newest at the path itself. It may import the standard library only.
package logs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"
)

// Entry is one line, or a part of a long one.
type Entry struct {
	Time    time.Time `json:"t"`
	Stream  string    `json:"s"` // stdout, stderr
	Partial bool      `json:"p,omitempty"`
	Text    string    `json:"m"`
}

// Options choose entries.
type Options struct {
	Since time.Time // zero: all
	Tail  int       // at most so many of the newest; below 0: all
	// Ended, when not nil, makes Read go on with what is written later, until it is closed and all was read.
	Ended <-chan struct{}
}

// Read yields the entries of the log at path, oldest first. A log that does not exist is fs.ErrNotExist, unless it is
// followed: then it is waited for. A line that is no entry (a crash tore it) is left out.
func Read(ctx context.Context, path string, opt Options) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r := &reader{path: path, opt: opt, yield: yield}
		defer r.close()
		if err := r.run(ctx); err != nil {
			yield(Entry{}, err)
		}
	}
}

// poll is how often a followed file is looked at.
const poll = 100 * time.Millisecond

// errEnough says that the caller wants no more.
var errEnough = errors.New("enough")

type reader struct {
	path  string
	opt   Options
	yield func(Entry, error) bool

	file *os.File // the newest file, read up to here
	buf  *bufio.Reader
	part []byte // a line that is not whole yet
}

func (r *reader) run(ctx context.Context) error {
	err := r.readAll()
	if err == nil && r.opt.Ended != nil {
		err = r.follow(ctx)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// readAll reads the rotated files and then the newest, as far as it goes now.
func (r *reader) readAll() error {
	files, err := r.open()
	if err != nil {
		return err
	}
	skip := 0
	if r.opt.Tail >= 0 {
		if skip, err = r.count(files); err != nil {
			return err
		}
		skip = max(0, skip-r.opt.Tail)
	}
	for i, f := range files {
		last := i == len(files)-1
		r.use(f)
		if err := r.drain(&skip); err != nil {
			return err
		}
		if !last {
			r.close()
		}
	}
	return nil
}

// open returns the log's files, oldest first. Opening the newest first makes a rotation in between harmless.
func (r *reader) open() ([]*os.File, error) {
	newest, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) && r.opt.Ended != nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	files := []*os.File{newest}
	for i := 1; ; i++ {
		f, err := os.Open(fmt.Sprintf("%s.%d", r.path, i))
		if err != nil {
			return files, nil
		}
		files = append([]*os.File{f}, files...)
	}
}

func (r *reader) count(files []*os.File) (int, error) {
	n := 0
	for _, f := range files {
		r.use(f)
		err := r.each(func(e Entry) error {
			if !e.Time.Before(r.opt.Since) {
				n++
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		r.part = nil
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, fmt.Errorf("rewind log: %w", err)
		}
	}
	return n, nil
}

func (r *reader) use(f *os.File) {
	r.file, r.buf, r.part = f, bufio.NewReaderSize(f, 64<<10), nil
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

func (r *reader) drain(skip *int) error {
	return r.each(func(e Entry) error {
		if e.Time.Before(r.opt.Since) {
			return nil
		}
		if *skip > 0 {
			*skip--
			return nil
		}
		if !r.yield(e, nil) {
			return errEnough
		}
		return nil
	})
}

// each reads whole lines to the present end of the file in use.
func (r *reader) each(take func(Entry) error) error {
	for {
		chunk, err := r.buf.ReadSlice('\n')
		r.part = append(r.part, chunk...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read log: %w", err)
		}
		var e Entry
		if json.Unmarshal(r.part, &e) == nil {
			if err := take(e); err != nil {
				return err
			}
		}
		r.part = r.part[:0]
	}
}

// follow reads what comes, across rotations, until the container ended and the file holds no more.
func (r *reader) follow(ctx context.Context) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	none := 0
	for {
		ended := false
		select {
		case <-r.opt.Ended:
			ended = true
		default:
		}
		if err := r.next(&none); err != nil {
			return err
		}
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.opt.Ended:
		case <-ticker.C:
		}
	}
}

// next reads to the end of the present file and, when it was rotated away, of the new one.
func (r *reader) next(skip *int) error {
	if r.file != nil {
		if err := r.drain(skip); err != nil {
			return err
		}
		if !r.rotated() {
			return nil
		}
		if err := r.drain(skip); err != nil { // written between the last read and the rotation
			return err
		}
	}
	f, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	r.close()
	r.use(f)
	return r.drain(skip)
}

func (r *reader) rotated() bool {
	mine, err := r.file.Stat()
	if err != nil {
		return false
	}
	now, err := os.Stat(r.path)
	return err == nil && !os.SameFile(mine, now)
}
