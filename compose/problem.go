package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
)

// Problem is one mistake in a Compose file, or one thing in it that this version does not do.
type Problem struct {
	File   string // as the user named it; "" when it is in no file
	Line   int    // from 1; 0 when not known
	Path   string // "services.web.ports[0]"; "" when it is in no key
	Reason string // what is wrong and what to do
	Kind   error  // holdfast.ErrInvalid or holdfast.ErrUnsupported
}

func (p Problem) Error() string { return place(p.File, p.Line, p.Path) + p.Reason }

// Unwrap returns the problem's kind.
func (p Problem) Unwrap() error { return p.Kind }

// Problems are all that is wrong with the files of one Load, sorted by file and line. It is the error that Load returns
// for bad input; errors.Is finds the kinds of all of them.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each problem.
func (p Problems) Unwrap() []error {
	errs := make([]error, len(p))
	for i, one := range p {
		errs[i] = one
	}
	return errs
}

// Note is something that was honoured with a remark: an inferred kind, a key that has nothing to do here.
type Note struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

func (n Note) String() string { return place(n.File, n.Line, n.Path) + n.Message }

// place renders where something is, ending in ": ", or "" when nothing is known.
func place(file string, line int, path string) string {
	var b strings.Builder
	if file != "" {
		b.WriteString(file)
		if line > 0 {
			fmt.Fprintf(&b, ":%d", line)
		}
		b.WriteString(": ")
	}
	if path != "" {
		b.WriteString(path + ": ")
	}
	return b.String()
}

// maxProblems bounds what one Load reports.
const maxProblems = 200

// limited returns the first of the problems, and how many more there are.
func (p Problems) limited() Problems {
	if len(p) <= maxProblems {
		return p
	}
	more := Problem{Reason: fmt.Sprintf("and %d more", len(p)-maxProblems), Kind: p[len(p)-1].Kind}
	return append(slices.Clone(p[:maxProblems]), more)
}

// sorted returns the problems in the order of file, line, path and reason, each once.
func (p Problems) sorted() Problems {
	out := slices.Clone(p)
	slices.SortFunc(out, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Reason, b.Reason))
	})
	return slices.CompactFunc(out, func(a, b Problem) bool {
		return a.File == b.File && a.Line == b.Line && a.Path == b.Path && a.Reason == b.Reason
	})
}

func sortNotes(notes []Note) []Note {
	slices.SortFunc(notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(notes)
}

// invalid records a mistake at keyPath. hint, when not "", is text of the list item that is meant.
func (l *loading) invalid(at keyPath, hint, format string, args ...any) {
	l.problem(holdfast.ErrInvalid, at, hint, fmt.Sprintf(format, args...))
}

// unsupported records something at keyPath that is not done.
func (l *loading) unsupported(at keyPath, hint, format string, args ...any) {
	l.problem(holdfast.ErrUnsupported, at, hint, fmt.Sprintf(format, args...))
}

func (l *loading) problem(kind error, at keyPath, hint, reason string) {
	pos := l.files.find(at, hint)
	l.problems = append(l.problems, Problem{File: pos.file, Line: pos.line, Path: at.String(), Reason: reason, Kind: kind})
}

// note records a remark about path.
func (l *loading) note(at keyPath, hint, format string, args ...any) {
	pos := l.files.find(at, hint)
	l.notes = append(l.notes, Note{File: pos.file, Line: pos.line, Path: at.String(), Message: fmt.Sprintf(format, args...)})
}
