package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

// entry is one service or job on its way to a Spec.
type entry struct {
	*loading
	at       keyPath // "services", "web"
	name     string
	job      bool
	triggers *types.TriggerConfig
	c        types.ServiceConfig // a job's container in a service's clothes
	x        *extension
	spec     holdfast.Spec
	source   *holdfast.ImageSource

	defaulted []string
	oneShot   bool // others wait for it to complete
	linked    []link
}

// entries returns the active services and jobs, sorted by name.
func (l *loading) entries() []*entry {
	var out []*entry
	for name, s := range l.project.Services {
		out = append(out, &entry{loading: l, at: keyPath{"services", name}, name: name, c: s})
	}
	for name, j := range l.project.Jobs {
		out = append(out, jobEntry(l, name, j))
	}
	slices.SortFunc(out, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	return out
}

func jobEntry(l *loading, name string, j types.JobConfig) *entry {
	return &entry{
		loading: l, at: keyPath{"jobs", name}, name: name, job: true, triggers: j.Triggers,
		c: types.ServiceConfig{
			Name: name, Profiles: j.Profiles, ContainerSpec: j.ContainerSpec, WorkloadSpec: j.WorkloadSpec,
			Extensions: j.Extensions,
		},
	}
}

// bad records a mistake in the entry; at is below it.
func (e *entry) bad(at []any, format string, args ...any) {
	e.mistake(holdfast.ErrInvalid, at, "", fmt.Sprintf(format, args...))
}

// badItem is bad with the text of the list item that is meant.
func (e *entry) badItem(at []any, hint, format string, args ...any) {
	e.mistake(holdfast.ErrInvalid, at, hint, fmt.Sprintf(format, args...))
}

// cannot records something in the entry that is not done.
func (e *entry) cannot(at []any, format string, args ...any) {
	e.mistake(holdfast.ErrUnsupported, at, "", fmt.Sprintf(format, args...))
}

func (e *entry) mistake(kind error, at []any, hint, reason string) {
	where := e.at.at(at...)
	if !e.cut(where) {
		e.problem(kind, where, hint, reason)
	}
}

// remark notes something about the entry.
func (e *entry) remark(at []any, format string, args ...any) {
	e.note(e.at.at(at...), "", format, args...)
}

// sets reports whether the file sets the key below the entry.
func (e *entry) sets(at ...any) bool { return e.has(e.at.at(at...)) }

// at is a list of path parts.
func at(parts ...any) []any { return parts }

// fill sets *to to value and notes that it is a default, unless the file sets the key.
func fill[T any](e *entry, specPath string, to *T, value T, set bool) {
	if set {
		return
	}
	*to = value
	e.defaulted = append(e.defaulted, specPath)
}

// cloneWith returns a copy of m with one more entry.
func cloneWith[M ~map[string]V, V any](m M, key string, v V) M {
	out := maps.Clone(m)
	if out == nil {
		out = M{}
	}
	out[key] = v
	return out
}

// sortedKeys returns m's keys in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
