package holdfast

import (
	"errors"
	"fmt"
)

// Kinds of error. They survive the wire: the API maps each to one HTTP status, and the client maps it back, so
// errors.Is works on both sides.
var (
	// ErrInvalid: the caller's input is wrong; retrying without a change is useless.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: the named thing does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the thing changed since it was read, or exists already; read again and retry.
	ErrConflict = errors.New("conflict")
	// ErrUnavailable: something this call needs is not there right now; retrying later may succeed.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnsupported: understood, and not done by this version or on this machine; the text says which and why.
	ErrUnsupported = errors.New("unsupported")
)

// Errorf formats an error of the given kind. The kind's own word does not show in the text.
func Errorf(kind error, format string, args ...any) error {
	return &kindError{kind: kind, err: fmt.Errorf(format, args...)}
}

type kindError struct {
	kind error
	err  error
}

func (e *kindError) Error() string   { return e.err.Error() }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }

// KindOf returns which of the kinds above err is, or nil.
func KindOf(err error) error {
	for _, kind := range []error{ErrInvalid, ErrNotFound, ErrConflict, ErrUnavailable, ErrUnsupported} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return nil
}
