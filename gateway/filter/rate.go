package filter

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast/holdfast"
)

// maxBuckets bounds how many clients a limit remembers.
const maxBuckets = 1 << 16

// limiter is a token bucket for each client, as the generic cell rate algorithm: of a bucket it keeps only when it will be
// full again.
type limiter struct {
	by, header string
	step       time.Duration // one token
	depth      time.Duration // all tokens
	now        func() time.Time
	seed       maphash.Seed

	mu   sync.Mutex
	full map[uint64]time.Time // buckets that are not full
}

func rateLimit(r *holdfast.Route, opt Options) (layer, error) {
	l := r.RateLimit
	if l == nil {
		return nil, nil
	}
	if l.Requests <= 0 || l.Per <= 0 {
		return nil, errors.New("a rate limit needs requests and a time above 0")
	}
	step := max(time.Duration(l.Per)/time.Duration(l.Requests), 1)
	return &limiter{
		by: l.By, header: l.Header, step: step, depth: step * time.Duration(max(l.Burst, 1)), now: opt.Now,
		seed: maphash.MakeSeed(), full: map[uint64]time.Time{},
	}, nil
}

func (l *limiter) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if wait := l.take(l.key(r), l.now()); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		answer(w, http.StatusTooManyRequests, "too many requests")
		return
	}
	next.ServeHTTP(w, r)
}

// key returns whose bucket a request takes from. It is a hash: tokens of clients are not kept.
func (l *limiter) key(r *http.Request) uint64 {
	switch {
	case l.by == "route":
		return 0
	case l.by == "header":
		if v := r.Header.Get(l.header); v != "" {
			return maphash.String(l.seed, "h"+v)
		}
	}
	addr := clientOf(r)
	if addr.Is6() { // whoever has one address of a /64 has them all
		addr = netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	b := addr.As16()
	return maphash.Bytes(l.seed, b[:]) ^ binary.BigEndian.Uint64(b[:8])
}

// take takes a token of key's bucket, and returns 0, or how long there will be none.
func (l *limiter) take(key uint64, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	full, ok := l.full[key]
	if !ok || full.Before(now) {
		full = now
	}
	full = full.Add(l.step)
	if over := full.Sub(now) - l.depth; over > 0 {
		return over
	}
	if !ok && len(l.full) >= maxBuckets {
		l.forget(now)
	}
	l.full[key] = full
	return 0
}

// forget drops the buckets that are full again, and then any until a quarter of the room is free: so many strangers come
// before it is looked through again.
func (l *limiter) forget(now time.Time) {
	for key, full := range l.full {
		if !full.After(now) {
			delete(l.full, key)
		}
	}
	for key := range l.full {
		if len(l.full) <= maxBuckets*3/4 {
			return
		}
		delete(l.full, key)
	}
}
