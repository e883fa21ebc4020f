package daemon

import (
	"sync"
	"time"
)

// holdFor bounds how long an image is kept for a deploy that does not come.
const holdFor = 10 * time.Minute

// holds keep images, by digest, from being removed between the moment that they are there and the one that a release
// names them. The zero value is ready.
type holds struct {
	mu  sync.Mutex
	all map[string][]func()
}

// add keeps release until drop, or for holdFor.
func (h *holds) add(digest string, release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[string][]func(){}
	}
	h.all[digest] = append(h.all[digest], release)
	time.AfterFunc(holdFor, release)
}

// drop lets go of digest; one that is not held is no error.
func (h *holds) drop(digest string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, release := range h.all[digest] {
		release()
	}
	delete(h.all, digest)
}
