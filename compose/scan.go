package compose

import (
	"fmt"
	"strings"

	"github.com/holdfast/holdfast"
)

// remark is a noted key.
type remark struct {
	at   keyPath
	text string
}

// scanKeys looks for keys of the merged model that are refused or noted. What concerns services that take no part is
// sorted out later, once that is known.
func (l *loading) scanKeys() { l.scan(l.model, nil, keyTree()) }

func (l *loading) scan(v any, at keyPath, r *row) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			l.scanKey(v[key], at.at(key), r)
		}
	case []any:
		for i, item := range v {
			l.scan(item, at.at(i), r.child("0"))
		}
	}
}

func (l *loading) scanKey(v any, at keyPath, r *row) {
	name := at[len(at)-1]
	if strings.HasPrefix(name, "x-") && !r.free() {
		l.scanExtension(at, name)
		return
	}
	next := r.child(name)
	if next == nil {
		// the checker of the files, or compose-go, has complained of a key that the schema does not have
		return
	}
	if k := next.key; k != nil && k.State != Honoured {
		if k.unless != nil && fmt.Sprint(k.unless) == fmt.Sprint(v) {
			return
		}
		l.found(at, k)
		return
	}
	l.scan(v, at, next)
}

// found records a refused or noted key.
func (l *loading) found(at keyPath, k *Key) {
	if k.State == Noted {
		l.remarks = append(l.remarks, remark{at, k.Note})
		return
	}
	pos := l.files.find(at, "")
	reason := k.Note
	if !strings.HasPrefix(reason, "is ") {
		reason = "is not done: " + reason
	}
	l.refused = append(l.refused, Problem{
		File: pos.file, Line: pos.line, Path: at.String(), Reason: reason, Kind: holdfast.ErrUnsupported,
	})
}

// scanExtension complains of an x-holdfast where it does nothing, and of what looks like one.
func (l *loading) scanExtension(at keyPath, name string) {
	container := len(at) == 3 && (at[0] == "services" || at[0] == "jobs")
	pos := l.files.find(at, "")
	p := Problem{File: pos.file, Line: pos.line, Path: at.String(), Kind: holdfast.ErrInvalid}
	switch {
	case name == "x-holdfast" && !container:
		p.Reason = "belongs to a service or a job, not here"
	case name != "x-holdfast" && distance(strings.ToLower(name), "x-holdfast") <= 2:
		p.Reason = `did you mean "x-holdfast"?`
	default:
		return
	}
	l.refused = append(l.refused, p)
}
