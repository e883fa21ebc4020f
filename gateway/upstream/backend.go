package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast/holdfast/gateway/route"
)

// Backend is the live state of a route.Backend: its endpoints and who waits for one.
type Backend struct {
	set       *Set
	key       string
	desc      atomic.Pointer[route.Backend]
	endpoints atomic.Pointer[[]*Endpoint]
	removed   atomic.Bool
	budget    budget

	Retried  atomic.Uint64 // requests sent again
	Held     atomic.Uint64 // requests that waited for an endpoint
	Refused  atomic.Uint64 // requests that waited in vain, or were not let wait
	NoBudget atomic.Uint64 // requests that failed because the retry budget was used up

	mu    sync.Mutex
	queue []*Waiter // by Since
}

// Desc returns what the table says of the backend.
func (b *Backend) Desc() *route.Backend { return b.desc.Load() }

// Pick chooses the less loaded of two random usable endpoints and counts one more in flight to it, until Done. It
// avoids avoid, unless there is no other. It returns nil when no endpoint is usable now. random is a random number.
func (b *Backend) Pick(random uint64, now time.Duration, avoid *Endpoint) *Endpoint {
	list := b.endpoints.Load()
	if list == nil {
		return nil
	}
	for range 4 {
		e := choose(*list, random, now, avoid)
		if e == nil {
			return nil
		}
		if e.acquire() {
			return e
		}
	}
	return nil
}

// choose is Pick without the counting.
func choose(list []*Endpoint, random uint64, now time.Duration, avoid *Endpoint) *Endpoint {
	n := uint64(len(list))
	if n == 0 {
		return nil
	}
	if n > 1 {
		i := (random & 0xffffffff) * n >> 32
		j := (random >> 33) * (n - 1) >> 31
		if j >= i {
			j++
		}
		a, c := list[i], list[j]
		if a != avoid && c != avoid && a.usable(now) && c.usable(now) {
			return better(a, c, now, random&1 == 0)
		}
	}
	return chooseAny(list, random, now, avoid)
}

// chooseAny returns the best of all usable endpoints: for when some are not, which is rare.
func chooseAny(list []*Endpoint, random uint64, now time.Duration, avoid *Endpoint) *Endpoint {
	var best *Endpoint
	for i := range list {
		e := list[(uint64(i)+random%uint64(len(list)))%uint64(len(list))]
		switch {
		case e == avoid || !e.usable(now):
		case best == nil:
			best = e
		default:
			best = better(best, e, now, true)
		}
	}
	if best == nil && avoid != nil && avoid.usable(now) {
		for _, e := range list {
			if e == avoid {
				return avoid
			}
		}
	}
	return best
}

func (b *Backend) anyUsable(now time.Duration) bool {
	list := b.endpoints.Load()
	if list == nil {
		return false
	}
	for _, e := range *list {
		if e.usable(now) {
			return true
		}
	}
	return false
}

// Removed reports whether no table has the backend any more: waiting is in vain.
func (b *Backend) Removed() bool { return b.removed.Load() }
