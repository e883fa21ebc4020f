// Package remote is a store engine at the other end of a connection: Serve gives access to an engine, or to a part of
// it, and Dial uses it from another process. So a process that must outlive the agent (the gateway) follows the same
// state by the same code.
//
// One gob stream per connection: a request, its answers, and again. Calls use pooled connections; each watch and each
// lease has its own, so that its end is the connection's end.
package remote

import (
	"encoding/gob"
	"errors"
	"io"
	"net"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

type method string

const (
	methodRange  method = "range"
	methodCommit method = "commit"
	methodWatch  method = "watch"
	methodGrant  method = "grant"
	methodRevoke method = "revoke"
)

type request struct {
	Method     method
	Prefix     string // range, watch
	From       int64  // watch
	Conditions []store.Condition
	Ops        []operation
	TTL        time.Duration // grant
	Lease      int64         // revoke
}

// operation is a store.Op that gob keeps a deletion apart from an empty value in.
type operation struct {
	Key    string
	Value  []byte
	Delete bool
	Lease  int64
}

type answer struct {
	Revision int64
	Entries  []entry // range; the changes of one commit for watch
	Lease    int64
	Failure  *failure
}

type entry struct {
	Key      string
	Value    []byte
	Deleted  bool
	Revision int64
}

// failure is an error that keeps its kind.
type failure struct {
	Kind string
	Text string
}

var kinds = []error{
	holdfast.ErrInvalid, holdfast.ErrNotFound, holdfast.ErrConflict, holdfast.ErrUnavailable, holdfast.ErrUnsupported,
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	if kind := holdfast.KindOf(err); kind != nil {
		f.Kind = kind.Error()
	}
	return f
}

func (f *failure) err() error {
	if f == nil {
		return nil
	}
	for _, kind := range kinds {
		if kind.Error() == f.Kind {
			return holdfast.Errorf(kind, "%s", f.Text)
		}
	}
	return errors.New(f.Text)
}

func toEntries(in []store.Entry, keep func(string) bool) []entry {
	out := make([]entry, 0, len(in))
	for _, e := range in {
		if keep == nil || keep(e.Key) {
			out = append(out, entry{e.Key, e.Value, e.Value == nil, e.Revision})
		}
	}
	return out
}

func fromEntries(in []entry) []store.Entry {
	out := make([]store.Entry, len(in))
	for i, e := range in {
		value := e.Value
		if value == nil && !e.Deleted {
			value = []byte{}
		}
		out[i] = store.Entry{Key: e.Key, Value: value, Revision: e.Revision}
	}
	return out
}

// maxMessage bounds what one side makes the other hold in memory.
const maxMessage = 256 << 20

// wire is one connection with its codecs.
type wire struct {
	conn net.Conn
	in   *gob.Decoder
	out  *gob.Encoder
	left *io.LimitedReader
}

func newWire(conn net.Conn) *wire {
	left := &io.LimitedReader{R: conn, N: maxMessage}
	return &wire{conn: conn, in: gob.NewDecoder(left), out: gob.NewEncoder(conn), left: left}
}

func (w *wire) read(v any) error {
	w.left.N = maxMessage
	return w.in.Decode(v)
}
