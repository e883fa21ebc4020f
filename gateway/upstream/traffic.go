package upstream

import (
	"sync/atomic"
	"time"
)

// Bounds are the upper bounds of a Traffic's latency buckets.
var Bounds = [...]time.Duration{
	250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Traffic is what was measured of a route or an endpoint. Safe for concurrent use.
type Traffic struct {
	classes [6]atomic.Uint64 // requests by first digit of the status; [0] none was sent
	buckets [len(Bounds) + 1]atomic.Uint64
	nanos   atomic.Uint64
	in      atomic.Uint64 // body bytes from clients
	out     atomic.Uint64 // body bytes to clients
}

// Count adds one request that was answered with status (0: the client was gone) and took took from its head to the last
// byte of its response, with in and out bytes of body.
func (t *Traffic) Count(status int, took time.Duration, in, out int64) {
	if t == nil {
		return
	}
	t.classes[min(max(status/100, 0), 5)].Add(1)
	t.buckets[bucket(took)].Add(1)
	t.nanos.Add(uint64(max(took, 0)))
	if in > 0 {
		t.in.Add(uint64(in))
	}
	if out > 0 {
		t.out.Add(uint64(out))
	}
}

// Bytes adds what a relayed connection or datagram carried.
func (t *Traffic) Bytes(in, out int64) {
	t.in.Add(uint64(in))
	t.out.Add(uint64(out))
}

// bucket returns the index of the first bound that took does not exceed.
func bucket(took time.Duration) int {
	for i, b := range Bounds {
		if took <= b {
			return i
		}
	}
	return len(Bounds)
}

// Counts is a Traffic at one moment.
type Counts struct {
	Classes [6]uint64
	Buckets [len(Bounds) + 1]uint64 // not cumulative
	Sum     time.Duration
	In, Out uint64
}

// Requests returns how many requests were counted.
func (c Counts) Requests() uint64 {
	var n uint64
	for _, b := range c.Buckets {
		n += b
	}
	return n
}

// Read returns the counts now.
func (t *Traffic) Read() Counts {
	c := Counts{Sum: time.Duration(t.nanos.Load()), In: t.in.Load(), Out: t.out.Load()}
	for i := range t.classes {
		c.Classes[i] = t.classes[i].Load()
	}
	for i := range t.buckets {
		c.Buckets[i] = t.buckets[i].Load()
	}
	return c
}
