package fake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// output takes what a program writes: to the log, and to all who are attached.
type output struct {
	now  func() time.Time
	mu   sync.Mutex
	file *os.File // nil: no log
	part map[string][]byte
	subs map[*attached]struct{}
	over bool
}

func newOutput(now func() time.Time, path string) (*output, error) {
	o := &output{now: now, part: map[string][]byte{}, subs: map[*attached]struct{}{}}
	if path == "" {
		return o, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	o.file = f
	return o, nil
}

type stream struct {
	o    *output
	name string
}

func (o *output) stream(name string) io.Writer { return stream{o, name} }

// Write implements io.Writer.
func (s stream) Write(p []byte) (int, error) {
	s.o.mu.Lock()
	defer s.o.mu.Unlock()
	if s.o.over {
		return 0, os.ErrClosed
	}
	for a := range s.o.subs {
		a.put(s.name, p)
	}
	part := append(s.o.part[s.name], p...)
	for {
		line, rest, ok := bytes.Cut(part, []byte("\n"))
		if !ok {
			break
		}
		if err := s.o.logLocked(s.name, string(line), false); err != nil {
			return 0, err
		}
		part = rest
	}
	s.o.part[s.name] = part
	return len(p), nil
}

func (o *output) logLocked(name, text string, partial bool) error {
	if o.file == nil {
		return nil
	}
	line, err := json.Marshal(struct {
		T time.Time `json:"t"`
		S string    `json:"s"`
		P bool      `json:"p,omitempty"`
		M string    `json:"m"`
	}{o.now(), name, partial, text})
	if err != nil {
		return fmt.Errorf("encode log line: %w", err)
	}
	if _, err := o.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

// close ends the output: nothing is written any more.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return
	}
	o.over = true
	for _, name := range []string{"stdout", "stderr"} {
		if text := o.part[name]; len(text) > 0 {
			// There is nobody left to tell of a full disk: the container ended.
			_ = o.logLocked(name, string(text), true)
		}
	}
	if o.file != nil {
		o.file.Close()
	}
	for a := range o.subs {
		a.end()
	}
}

// attach adds a reader of what comes from now on.
func (o *output) attach(a *attached) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		a.end()
		return
	}
	o.subs[a] = struct{}{}
}

func (o *output) detach(a *attached) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.subs, a)
	a.end()
}

// attached buffers both streams without bound: writers never wait.
type attached struct {
	stdout, stderr *buffer
}

func newAttached() *attached { return &attached{newBuffer(), newBuffer()} }

func (a *attached) put(name string, p []byte) {
	if name == "stdout" {
		a.stdout.write(p)
	} else {
		a.stderr.write(p)
	}
}

func (a *attached) end() {
	a.stdout.end()
	a.stderr.end()
}

// buffer is a pipe that never blocks its writer.
type buffer struct {
	mu   sync.Mutex
	more sync.Cond
	data bytes.Buffer
	over bool
}

func newBuffer() *buffer {
	b := &buffer{}
	b.more.L = &b.mu
	return b
}

func (b *buffer) write(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data.Write(p)
	b.more.Broadcast()
}

func (b *buffer) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	b.more.Broadcast()
}

// Read implements io.Reader.
func (b *buffer) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.data.Len() == 0 && !b.over {
		b.more.Wait()
	}
	return b.data.Read(p)
}
