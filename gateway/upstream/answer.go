package upstream

import (
	"errors"
	"fmt"
	"time"
)

// Limits bound what a client or a replica may take, on every data path. Zero fields take their defaults.
type Limits struct {
	HoldFor     time.Duration // a request waits for a ready replica; 10 s
	Head        time.Duration // to send a request's head; 10 s
	Idle        time.Duration // between requests of a client's connection; 75 s
	Stall       time.Duration // a client neither sends nor takes anything in the middle of a request; 60 s
	Response    time.Duration // a replica takes to begin its response, after the last byte of the request; 60 s
	Connect     time.Duration // to connect to a replica; 2 s
	HeadBytes   int           // of a request's head; 32 KiB
	ReplayBytes int           // of a request's body kept for a retry; 64 KiB
}

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&l.HoldFor, 10*time.Second)
	set(&l.Head, 10*time.Second)
	set(&l.Idle, 75*time.Second)
	set(&l.Stall, 60*time.Second)
	set(&l.Response, 60*time.Second)
	set(&l.Connect, 2*time.Second)
	if l.HeadBytes == 0 {
		l.HeadBytes = 32 << 10
	}
	if l.ReplayBytes == 0 {
		l.ReplayBytes = 64 << 10
	}
	return l
}

// Answer is a response that the gateway itself gives: plain text, one line.
type Answer struct {
	Status     int
	Text       string
	RetryAfter int // seconds; 0 none
}

// Why a replica that was picked gave no response.
var (
	ErrBadResponse = errors.New("the replica's response is not HTTP")
	ErrBroken      = errors.New("the replica closed the connection before its response")
	ErrSlow        = errors.New("the replica did not respond in time")
)

// NoRoute is the answer to a request that no route takes.
func NoRoute(host string) Answer {
	return Answer{Status: 404, Text: fmt.Sprintf("no route for host %q and this path; `holdfast route ls` shows all routes", host)}
}

// Failure is the answer to a request to service that failed with err.
func Failure(service string, err error) Answer {
	text := fmt.Sprintf("service %s: %v", service, err)
	switch {
	case errors.Is(err, ErrHoldFull), errors.Is(err, ErrHoldTimeout):
		return Answer{Status: 503, Text: text, RetryAfter: 5}
	case errors.Is(err, ErrIdle):
		return Answer{Status: 503, Text: text, RetryAfter: 30}
	case errors.Is(err, ErrSlow):
		return Answer{Status: 504, Text: text}
	}
	return Answer{Status: 502, Text: text}
}
