package upstream

import (
	"cmp"
	"sync/atomic"
)

// Attempt tells how a try to have a request answered failed.
type Attempt struct {
	Sent       bool // some of the request may have reached the replica
	Answered   bool // some of the response reached the gateway
	Idempotent bool // the method may be repeated (RFC 9110 §9.2.2)
	Replayable bool // the body is empty, or all that was sent of it is still here
	Tries      int  // that sent something, this one included
	Max        int  // how often it is sent at most; 0 is four times
}

// maxTries is how often a request is sent at most.
const maxTries = 4

// May reports whether the request may be tried again: always when nothing was sent; otherwise when nothing came back, the
// method may be repeated and the body is at hand, up to Max times. The latter uses the backend's Budget.
func (a Attempt) May() bool {
	switch {
	case a.Answered:
		return false
	case !a.Sent:
		return true
	}
	return a.Idempotent && a.Replayable && a.Tries < cmp.Or(a.Max, maxTries)
}

// Idempotent reports whether method may be repeated.
func Idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// budget keeps retries from doubling the load of a backend that is in trouble: each request earns a fifth of a retry, or
// what the route says, and up to 500 are saved for when a replica with many requests in flight dies.
type budget struct{ tokens atomic.Int64 }

const (
	budgetFull  = 500 * retryCost
	retryCost   = 100
	retryEarned = 20
)

// Earn counts one request.
func (b *Backend) Earn() {
	if b.budget.tokens.Load() < budgetFull {
		b.budget.tokens.Add(int64(cmp.Or(b.Desc().RetryPercent, retryEarned)))
	}
}

// Spend takes one retry from the budget, if there is one.
func (b *Backend) Spend() bool {
	if b.budget.tokens.Add(-retryCost) >= 0 {
		b.Retried.Add(1)
		return true
	}
	b.budget.tokens.Add(retryCost)
	b.NoBudget.Add(1)
	return false
}
