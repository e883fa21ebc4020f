// Package watch fans out changes of containers' status to any number of watchers, none of which can hold up another.
//
// May import only the container package and libraries.
package watch

import (
	"context"
	"sync"

	"github.com/holdfast/holdfast/container"
)

// Hub delivers what is published to all subscribers, in order. The zero value is ready.
type Hub struct {
	mu   sync.Mutex
	subs map[*subscriber]struct{}
}

type subscriber struct {
	queue []container.Status
	more  chan struct{} // holds one token while queue is not empty
}

// Publish adds status to every subscriber's queue. It never blocks.
func (h *Hub) Publish(status container.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		s.queue = append(s.queue, status)
		s.wake()
	}
}

// Subscribe returns a channel that delivers first and then all that is published from now on. It is closed when ctx
// ends. To miss nothing, read first and call Subscribe under the lock that orders the calls of Publish.
func (h *Hub) Subscribe(ctx context.Context, first []container.Status) <-chan container.Status {
	s := &subscriber{queue: append([]container.Status(nil), first...), more: make(chan struct{}, 1)}
	s.wake()
	h.mu.Lock()
	if h.subs == nil {
		h.subs = map[*subscriber]struct{}{}
	}
	h.subs[s] = struct{}{}
	h.mu.Unlock()
	out := make(chan container.Status)
	go h.deliver(ctx, s, out)
	return out
}

func (s *subscriber) wake() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

func (h *Hub) deliver(ctx context.Context, s *subscriber, out chan<- container.Status) {
	defer close(out)
	defer func() {
		h.mu.Lock()
		delete(h.subs, s)
		h.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.more:
		}
		h.mu.Lock()
		batch := s.queue
		s.queue = nil
		h.mu.Unlock()
		for _, status := range batch {
			select {
			case <-ctx.Done():
				return
			case out <- status:
			}
		}
	}
}
