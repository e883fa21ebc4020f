//go:build linux

package supervisor

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux/stdio"
)

// request is a call of one of container.Runtime's methods, or of our own.
type request struct {
	Op     string                 `json:"op"`
	ID     string                 `json:"id,omitempty"`
	Signal int                    `json:"signal,omitempty"`
	Park   *container.ParkOptions `json:"park,omitempty"`
	Spec   *container.Spec        `json:"spec,omitempty"`
	Exec   *container.ExecSpec    `json:"exec,omitempty"`
	Binary string                 `json:"binary,omitempty"` // of upgrade
}

// reply answers a request. Watch sends many.
type reply struct {
	Err    *wireError      `json:"err,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// Messages on the connection to a process, once exec or attach was answered.
type (
	// toProcess is sent by the client, and answered in order.
	toProcess struct {
		Signal     int  `json:"signal,omitempty"`
		CloseStdin bool `json:"closeStdin,omitempty"`
	}
	// fromProcess is either an answer to a toProcess or the process's end.
	fromProcess struct {
		Ended    bool       `json:"ended,omitempty"`
		ExitCode int        `json:"exitCode,omitempty"`
		Err      *wireError `json:"err,omitempty"`
	}
)

// streamSet says which of a process's streams come with a reply, in this order.
type streamSet struct {
	Stdin    bool `json:"stdin,omitempty"`
	Stdout   bool `json:"stdout,omitempty"`
	Stderr   bool `json:"stderr,omitempty"`
	Terminal bool `json:"terminal,omitempty"`
}

func packFiles(f stdio.Files) (set streamSet, files []*os.File) {
	for _, s := range []struct {
		has  *bool
		file *os.File
	}{{&set.Stdin, f.Stdin}, {&set.Stdout, f.Stdout}, {&set.Stderr, f.Stderr}, {&set.Terminal, f.Terminal}} {
		if *s.has = s.file != nil; *s.has {
			files = append(files, s.file)
		}
	}
	return set, files
}

func unpackFiles(set streamSet, files []*os.File) (f stdio.Files, err error) {
	for _, s := range []struct {
		has bool
		to  **os.File
	}{{set.Stdin, &f.Stdin}, {set.Stdout, &f.Stdout}, {set.Stderr, &f.Stderr}, {set.Terminal, &f.Terminal}} {
		if !s.has {
			continue
		}
		if len(files) == 0 {
			return f, fmt.Errorf("a descriptor is missing")
		}
		*s.to, files = files[0], files[1:]
	}
	closeFiles(files)
	return f, nil
}

// wireError is an error of one of the root package's kinds.
type wireError struct {
	Kind string `json:"kind,omitempty"`
	Text string `json:"text"`
}

var kinds = []error{
	holdfast.ErrInvalid, holdfast.ErrNotFound, holdfast.ErrConflict, holdfast.ErrUnavailable, holdfast.ErrUnsupported,
}

func encodeError(err error) *wireError {
	if err == nil {
		return nil
	}
	e := &wireError{Text: err.Error()}
	if kind := holdfast.KindOf(err); kind != nil {
		e.Kind = kind.Error()
	}
	return e
}

func (e *wireError) decode() error {
	if e == nil {
		return nil
	}
	for _, kind := range kinds {
		if kind.Error() == e.Kind {
			return holdfast.Errorf(kind, "%s", e.Text)
		}
	}
	return fmt.Errorf("%s", e.Text)
}
