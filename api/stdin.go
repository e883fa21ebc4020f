package api

import (
	"encoding/binary"
	"io"
	"sync"

	"github.com/holdfast/holdfast"
)

// stdinWindow is how many bytes of standard input may be under way: sent, and not yet taken by the process. The caller
// waits for frameTaken beyond it, so that a process that does not read never holds up the frames behind its input.
const stdinWindow = 256 << 10

// stdinQueue is the agent's side: it takes input off the connection at once and feeds the process at its pace.
type stdinQueue struct {
	mu     sync.Mutex
	more   *sync.Cond
	buf    []byte
	under  int  // bytes not yet taken, those being written included
	closed bool // by the caller: the process is told
	left   bool // the caller is gone: the process is not told, for an attached one goes on
}

func newStdinQueue() *stdinQueue {
	q := &stdinQueue{}
	q.more = sync.NewCond(&q.mu)
	return q
}

// add queues p. ErrInvalid when the caller did not keep to the window.
func (q *stdinQueue) add(p []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.under+len(p) > stdinWindow {
		return holdfast.Errorf(holdfast.ErrInvalid, "more than %d bytes of standard input under way", stdinWindow)
	}
	q.under += len(p)
	q.buf = append(q.buf, p...)
	q.more.Signal()
	return nil
}

// close ends the input after what is queued.
func (q *stdinQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.more.Signal()
}

// leave ends feed at once, without a word to the process.
func (q *stdinQueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.left = true
	q.more.Signal()
}

// feed writes to in until the queue was closed and is empty, or left, or the process takes no more; it tells taken of
// each piece. What the process did not take stays under way: the caller learns of it by the exit frame.
func (q *stdinQueue) feed(in io.WriteCloser, taken func(n int)) {
	for {
		p, left := q.next()
		if left {
			return
		}
		if p == nil {
			if in != nil {
				_ = in.Close()
			}
			return
		}
		if in != nil {
			if _, err := in.Write(p); err != nil {
				return
			}
		}
		q.mu.Lock()
		q.under -= len(p)
		q.mu.Unlock()
		taken(len(p)) // after under is down: the caller may answer at once
	}
}

// next waits for input; nil is its end.
func (q *stdinQueue) next() (p []byte, left bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.buf) == 0 && !q.closed && !q.left {
		q.more.Wait()
	}
	p, q.buf = q.buf, nil
	return p, q.left
}

// stdinFrames is the caller's side: the process's standard input.
type stdinFrames struct {
	out  *frameWriter
	mu   sync.Mutex
	more *sync.Cond
	free int // of the window
	gone bool
}

func newStdinFrames(out *frameWriter) *stdinFrames {
	s := &stdinFrames{out: out, free: stdinWindow}
	s.more = sync.NewCond(&s.mu)
	return s
}

// Write sends p, waiting while the window is full. io.ErrClosedPipe when the process or the connection ended; Wait says
// which.
func (s *stdinFrames) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		n, err := s.reserve(min(len(p), maxPayload))
		if err != nil {
			return total, err
		}
		if s.out.send(frame{Type: frameStdin, Payload: p[:n]}) != nil {
			return total, io.ErrClosedPipe
		}
		total += n
		p = p[n:]
	}
	return total, nil
}

func (s *stdinFrames) reserve(want int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.free == 0 && !s.gone {
		s.more.Wait()
	}
	if s.gone {
		return 0, io.ErrClosedPipe
	}
	n := min(want, s.free)
	s.free -= n
	return n, nil
}

func (s *stdinFrames) taken(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free += n
	s.more.Broadcast()
}

// end lets go of a waiting Write: nobody takes input any more.
func (s *stdinFrames) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	s.more.Broadcast()
}

// Close tells the process that its input ended.
func (s *stdinFrames) Close() error { return s.out.send(frame{Type: frameCloseStdin}) }

func takenFrame(n int) frame {
	return frame{Type: frameTaken, Payload: binary.BigEndian.AppendUint32(nil, uint32(n))}
}

func (f frame) taken() int { return int(binary.BigEndian.Uint32(f.Payload)) }
