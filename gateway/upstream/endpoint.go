package upstream

import (
	"math"
	"net/netip"
	"sync/atomic"
	"time"
)

// Endpoint is the live state of one port of a replica.
type Endpoint struct {
	App     string
	Service string
	Release int
	Addr    netip.AddrPort
	Replica *Replica
	Traffic Traffic

	set      *Set
	inFlight atomic.Int64
	latency  atomic.Int64 // EWMA of the time to the first response byte, in ns; 0 unknown
	measured atomic.Int64 // when latency was last fed, since the Set's start
	failures atomic.Int32 // connections refused in a row
	ejected  atomic.Int64 // no picks until then, since the Set's start
}

// acquire counts one more in flight, unless the replica is not to get anything new. The order is what makes a drain
// safe: counted first, then looked; whoever unroutes looks at the count after.
func (e *Endpoint) acquire() bool {
	e.Replica.inFlight.Add(1)
	if !e.Replica.ready.Load() {
		e.Replica.release()
		return false
	}
	e.inFlight.Add(1)
	return true
}

// Done ends what a Pick began. Call it exactly once, when nothing more is expected from the replica.
func (e *Endpoint) Done() {
	e.inFlight.Add(-1)
	e.Replica.release()
}

// Answered feeds the time that the endpoint took to its first response byte, and ends its ejection.
func (e *Endpoint) Answered(took, now time.Duration) {
	old := e.latency.Load()
	next := int64(took)
	if old != 0 && now-time.Duration(e.measured.Load()) < staleAfter {
		next = old + (next-old)/8
	}
	e.latency.Store(max(next, 1))
	e.measured.Store(int64(now))
	e.Connected()
}

// Connected tells that the endpoint took a connection.
func (e *Endpoint) Connected() {
	if e.failures.Load() != 0 {
		e.failures.Store(0)
		e.ejected.Store(0)
	}
}

// staleAfter is how long a measured latency counts.
const staleAfter = time.Second

// Refused tells that the endpoint did not take a connection: nobody picks it for a moment, which doubles each time from
// 50 ms to 2 s.
func (e *Endpoint) Refused(now time.Duration) {
	n := e.failures.Add(1)
	pause := min(50*time.Millisecond<<min(n-1, 6), 2*time.Second)
	e.ejected.Store(int64(now + pause))
	time.AfterFunc(pause, e.set.wake)
}

func (e *Endpoint) usable(now time.Duration) bool {
	return e.Replica.ready.Load() && e.ejected.Load() <= int64(now)
}

// better returns whichever of a and b is to get the next request: the one with less in flight, weighed by latency when
// both were measured lately and one is twice as slow; toss decides a tie.
func better(a, b *Endpoint, now time.Duration, toss bool) *Endpoint {
	loadA, loadB := a.inFlight.Load()+1, b.inFlight.Load()+1
	if la, lb := a.fresh(now), b.fresh(now); la != 0 && lb != 0 && (la > 2*lb || lb > 2*la) {
		loadA, loadB = times(loadA, la), times(loadB, lb)
	}
	switch {
	case loadA < loadB:
		return a
	case loadB < loadA:
		return b
	case toss:
		return a
	}
	return b
}

func times(a, b int64) int64 {
	if a > math.MaxInt64/b {
		return math.MaxInt64
	}
	return a * b
}

func (e *Endpoint) fresh(now time.Duration) int64 {
	if now-time.Duration(e.measured.Load()) > staleAfter {
		return 0
	}
	return e.latency.Load()
}
