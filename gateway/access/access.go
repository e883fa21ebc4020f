// Package access writes the gateway's access log: one line of JSON per request, off unless asked for, sampled.
//
// May import only the standard library.
package access

import (
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Entry is one request.
type Entry struct {
	Start   time.Time
	Client  string // address and port
	Method  string
	Host    string
	Path    string // as sent, with the query
	Status  int    // 0: the client was gone
	In, Out int64  // bytes of body
	Took    time.Duration
	App     string
	Service string
	Release int
	Replica string
	Tries   int // requests sent to replicas
	Error   string
}

// Log writes entries. A nil Log drops them. Safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	w      io.Writer
	sample float64
	buf    []byte
}

// New returns a Log that writes to w a share of all requests, from 0 to 1, and of those that failed (status 5xx or a
// broken connection) all.
func New(w io.Writer, sample float64) *Log { return &Log{w: w, sample: sample} }

// Wants reports whether an entry with this status is to be written.
func (l *Log) Wants(status int) bool {
	if l == nil {
		return false
	}
	return status >= 500 || l.sample >= 1 || rand.Float64() < l.sample
}

// Write writes e. What a client sent is escaped; an entry is always one line.
func (l *Log) Write(e *Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = appendEntry(l.buf[:0], e)
	_, _ = l.w.Write(l.buf) // a log that cannot be written must not stop traffic
}

func appendEntry(b []byte, e *Entry) []byte {
	b = append(b, `{"time":"`...)
	b = e.Start.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	b = append(b, '"')
	for _, f := range [...]struct{ key, value string }{
		{"client", e.Client},
		{"method", e.Method},
		{"host", e.Host},
		{"path", e.Path},
		{"app", e.App},
		{"service", e.Service},
		{"replica", e.Replica},
		{"error", e.Error},
	} {
		if f.value != "" {
			b = appendKey(b, f.key)
			b = appendString(b, f.value)
		}
	}
	for _, f := range [...]struct {
		key   string
		value int64
	}{
		{"release", int64(e.Release)},
		{"status", int64(e.Status)},
		{"in", e.In},
		{"out", e.Out},
		{"us", e.Took.Microseconds()},
		{"tries", int64(e.Tries)},
	} {
		b = appendKey(b, f.key)
		b = strconv.AppendInt(b, f.value, 10)
	}
	return append(b, "}\n"...)
}

func appendKey(b []byte, key string) []byte {
	b = append(b, `,"`...)
	b = append(b, key...)
	return append(b, `":`...)
}

const hex = "0123456789abcdef"

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			b = appendASCII(b, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, `\ufffd`...)
		} else {
			b = append(b, s[i:i+size]...)
		}
		i += size
	}
	return append(b, '"')
}

func appendASCII(b []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(b, '\\', c)
	case c < 0x20 || c == 0x7f:
		return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return append(b, c)
}
