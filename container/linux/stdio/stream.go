package stdio

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
)

// Stream reads one of a container's outputs until nobody can write to it any more.
type Stream struct {
	name string
	src  *os.File // non-blocking
	log  *Log
	done chan struct{}

	mu    sync.Mutex
	taps  map[*os.File]struct{}
	ended bool

	rest []byte // the line that is not whole yet
}

// NoStream returns a stream that ended.
func NoStream() *Stream { return &Stream{done: make(chan struct{}), ended: true} }

// buffers are shared: a silent stream has none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// NewStream returns the stream that reads src, a pipe, fifo or terminal in non-blocking mode. Run does the work.
func NewStream(name string, src *os.File, log *Log) *Stream {
	return &Stream{name: name, src: src, log: log, done: make(chan struct{}), taps: map[*os.File]struct{}{}}
}

// Run moves output until its end, then closes src and the taps.
func (s *Stream) Run() {
	defer close(s.done)
	if s.src == nil {
		return
	}
	defer s.end()
	raw, err := s.src.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool { return s.drain(int(fd)) }) // ends at the latest when src is closed
}

// Done is closed when all output was moved.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Stop ends the stream though there may be more to read later, by another process.
func (s *Stream) Stop() {
	if s.src != nil {
		s.src.Close()
	}
}

// drain reads what is there. True: there will be no more.
func (s *Stream) drain(fd int) bool {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := syscall.Read(fd, *buf)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return false
		case err != nil || n <= 0: // EIO: the last user of a terminal is gone
			return true
		}
		s.take((*buf)[:n])
	}
}

func (s *Stream) take(data []byte) {
	s.mu.Lock()
	for tap := range s.taps {
		s.sendLocked(tap, data)
	}
	s.mu.Unlock()
	s.log.write(s.name, s.split(data))
}

// split cuts data, after what was kept of the line before, into entries, and keeps what is no whole line.
func (s *Stream) split(data []byte) (entries []entry) {
	if len(s.rest) > 0 {
		data = append(s.rest, data...)
		s.rest = nil
	}
	for len(data) > 0 {
		line, after, whole := bytes.Cut(data, []byte{'\n'})
		switch {
		case len(line) > MaxLine:
			n := cut(line)
			entries = append(entries, entry{text: line[:n], partial: true})
			after = data[n:]
		case !whole:
			s.rest = bytes.Clone(line)
		default:
			entries = append(entries, entry{text: line})
		}
		data = after
	}
	return entries
}

// end writes the last line, whose end is missing, and lets go of everything.
func (s *Stream) end() {
	if len(s.rest) > 0 {
		s.log.write(s.name, []entry{{text: s.rest, partial: true}})
		s.rest = nil
	}
	s.src.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for tap := range s.taps {
		tap.Close()
	}
	s.taps = nil
}

// Attach returns a pipe that delivers output from now on. Who does not read it misses output; the container does not
// wait. Closing it ends it.
func (s *Stream) Attach() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		w.Close()
		return r, nil
	}
	s.taps[w] = struct{}{}
	return r, nil
}

// sendLocked writes to a tap what fits without waiting.
func (s *Stream) sendLocked(tap *os.File, data []byte) {
	raw, err := tap.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { err = writeSome(int(fd), data) })
	}
	if err != nil && !errors.Is(err, io.ErrShortWrite) {
		delete(s.taps, tap)
		tap.Close()
	}
}

func writeSome(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := syscall.Write(fd, data)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return io.ErrShortWrite
		case err != nil:
			return err
		default:
			data = data[n:]
		}
	}
	return nil
}
