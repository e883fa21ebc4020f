package std

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// replayBody is a request's body that keeps what was read of it, up to a bound, so that it can be sent again. Each try
// reads it through a reader of its own.
type replayBody struct {
	from  io.Reader
	limit int

	over  atomic.Bool  // more was read than is kept
	total atomic.Int64 // read

	mu   sync.Mutex // held while the client is waited for
	kept []byte
	err  error
	turn *tryBody // who may read
}

// newReplayBody returns nil when r has no body.
func newReplayBody(r *http.Request, from io.Reader, limit int) *replayBody {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	if !replays(r.Method) {
		limit = 0
	}
	return &replayBody{from: from, limit: limit}
}

// replays reports whether it is worth keeping the body of a request with this method.
func replays(method string) bool { return method != http.MethodPost && method != http.MethodPatch }

// try returns a reader of the whole body. Earlier ones fail from now on: a transport may still be reading one.
func (b *replayBody) try(onProgress func()) *tryBody {
	t := &tryBody{body: b, onProgress: onProgress}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn = t
	return t
}

// replayable reports whether all that was read of the body is kept. A nil body is.
func (b *replayBody) replayable() bool {
	return b == nil || !b.over.Load()
}

// size returns how much was read of the body. A nil body has none.
func (b *replayBody) size() int64 {
	if b == nil {
		return 0
	}
	return b.total.Load()
}

// failed returns why the client's body could not be read to its end, or nil.
func (b *replayBody) failed() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == io.EOF {
		return nil
	}
	return b.err
}

func (b *replayBody) keep(p []byte) {
	b.total.Add(int64(len(p)))
	if len(p) > 0 && len(b.kept)+len(p) > b.limit {
		b.over.Store(true)
	}
	if b.over.Load() {
		return
	}
	b.kept = append(b.kept, p...)
}

var errOldTry = errors.New("the request is sent again")

// tryBody is the body as one try sends it.
type tryBody struct {
	body       *replayBody
	onProgress func()
	at         int64
}

func (t *tryBody) Read(p []byte) (int, error) {
	b := t.body
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.turn != t:
		return 0, errOldTry
	case t.at < int64(len(b.kept)):
		n := copy(p, b.kept[t.at:])
		t.at += int64(n)
		return n, nil
	case t.at < b.total.Load():
		return 0, errOldTry // went over the bound while an earlier try was being given up
	case b.err != nil:
		return 0, b.err
	}
	n, err := b.from.Read(p)
	b.keep(p[:n])
	b.err = err
	t.at += int64(n)
	if n > 0 {
		t.onProgress()
	}
	return n, err
}

// Close ends the try. The server closes the client's body when the handler returns.
func (t *tryBody) Close() error { return nil }
