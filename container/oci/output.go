//go:build linux

package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
)

// output carries what a container writes into its log and to those who are attached. The container writes into named
// pipes that it holds open for reading too: it never sees a broken pipe, and no output is lost while no process of ours
// reads, but for what is in the pipe when it ends meanwhile.
type output struct {
	now   func() time.Time
	pipes []*os.File
	done  sync.WaitGroup

	mu   sync.Mutex
	log  *logFile // nil: discarded
	subs map[*attachment]struct{}
	over bool
}

var streamNames = []string{"stdout", "stderr"}

// openOutput opens our side of the container's pipes and goes on with its log.
func (r *Runtime) openOutput(b *box) (*output, error) {
	o := &output{now: r.cfg.Now, subs: map[*attachment]struct{}{}}
	if b.Spec.Log.Path != "" {
		log, err := openLog(b.Spec.Log)
		if err != nil {
			return nil, err
		}
		o.log = log
	}
	if b.Spec.OCI.Process.Terminal {
		return o, nil // read gets the terminal
	}
	for _, name := range streamNames {
		f, err := os.OpenFile(b.path(r, name), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			o.stop()
			return nil, fmt.Errorf("open output: %w", err)
		}
		o.read(f, name)
	}
	return o, nil
}

// read takes what comes from f until its end.
func (o *output) read(f *os.File, name string) {
	o.mu.Lock()
	o.pipes = append(o.pipes, f)
	o.mu.Unlock()
	o.done.Go(func() {
		buf := make([]byte, 32<<10)
		var line lineBuffer
		for {
			n, err := f.Read(buf)
			if n > 0 {
				o.take(name, &line, buf[:n])
			}
			if err != nil { // EOF; EIO of a terminal; closed by stop
				break
			}
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if rest := line.rest(); len(rest) > 0 {
			o.writeLocked(name, rest, true)
		}
	})
}

func (o *output) take(name string, line *lineBuffer, p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for a := range o.subs {
		a.put(name, p)
	}
	line.add(p, func(text []byte, partial bool) { o.writeLocked(name, text, partial) })
}

// writeLocked writes a line to the log. A disk that is full must not stop the container: the line is lost, and the
// next one that can be written tells so by its time.
func (o *output) writeLocked(name string, text []byte, partial bool) {
	if o.log != nil {
		_ = o.log.write(o.now(), name, text, partial)
	}
}

// drain waits until all was read, for a while: a process that outlives the container may hold a pipe open.
func (o *output) drain(limit time.Duration) {
	over := make(chan struct{})
	go func() {
		o.done.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(limit):
	}
	o.stop()
}

// stop ends all reading.
func (o *output) stop() {
	o.mu.Lock()
	pipes := o.pipes
	o.mu.Unlock()
	for _, f := range pipes {
		f.Close()
	}
	o.done.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	o.over = true
	if o.log != nil {
		o.log.close()
	}
	for a := range o.subs {
		a.end()
	}
}

// attach adds a to those who get what comes from now on.
func (o *output) attach(a *attachment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		a.end()
		return
	}
	o.subs[a] = struct{}{}
}

func (o *output) detach(a *attachment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.subs, a)
	a.end()
}

// lineBuffer cuts a stream into lines, and long lines into parts.
type lineBuffer struct {
	part []byte
}

const maxLine = 16 << 10

func (b *lineBuffer) add(p []byte, line func(text []byte, partial bool)) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		n := i
		if i < 0 {
			n = len(p)
		}
		if room := maxLine - len(b.part); n > room {
			b.part = append(b.part, p[:room]...)
			line(b.part, true)
			b.part, p = b.part[:0], p[room:]
			continue
		}
		b.part = append(b.part, p[:n]...)
		if i < 0 {
			return
		}
		line(b.part, false)
		b.part, p = b.part[:0], p[i+1:]
	}
}

func (b *lineBuffer) rest() []byte { return b.part }

// logFile is a container's newest log file.
type logFile struct {
	log  container.Log
	file *os.File
	size int64
}

func openLog(log container.Log) (*logFile, error) {
	f, err := os.OpenFile(log.Path, os.O_CREATE|os.O_RDWR|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	size, err := endTornLine(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &logFile{log: log, file: f, size: size}, nil
}

// endTornLine ends a line that a crash left without its end, so that readers skip only that, and returns the size.
func endTornLine(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return size, err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, size-1); err != nil || last[0] == '\n' {
		return size, err
	}
	_, err = f.Write([]byte("\n"))
	return size + 1, err
}

func (l *logFile) write(now time.Time, stream string, text []byte, partial bool) error {
	line, err := json.Marshal(struct {
		T string `json:"t"`
		S string `json:"s"`
		P bool   `json:"p,omitempty"`
		M string `json:"m"`
	}{now.UTC().Format(time.RFC3339Nano), stream, partial, string(text)})
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if l.log.MaxBytes > 0 && l.size > 0 && l.size+int64(len(line)) > l.log.MaxBytes {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	return err
}

// rotate moves each file to the next number and begins a new one.
func (l *logFile) rotate() error {
	name := func(i int) string {
		if i == 0 {
			return l.log.Path
		}
		return fmt.Sprintf("%s.%d", l.log.Path, i)
	}
	last := max(l.log.MaxFiles, 1) - 1
	if last == 0 {
		if err := os.Remove(l.log.Path); err != nil {
			return err
		}
	}
	for i := last - 1; i >= 0; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	next, err := openLog(l.log)
	if err != nil {
		return err
	}
	l.file.Close()
	l.file, l.size = next.file, next.size
	return nil
}

func (l *logFile) close() { l.file.Close() }
