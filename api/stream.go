package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// A stream is lines of JSON (application/x-ndjson), one value each, flushed as they come. When it fails midway its
// last line is {"error": <problem>}; a connection that ends without the end of the HTTP body was cut.

const ndjson = "application/x-ndjson"

// failure is the last line of a stream that failed.
type failure struct {
	Error *huma.ErrorModel `json:"error"`
}

// streamOf answers with what produce emits. An error before the first line becomes an ordinary problem answer.
func streamOf[T any](produce func(ctx context.Context, emit func(T) error) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humago.Unwrap(hctx)
		out := &lines{w: w, flush: http.NewResponseController(w).Flush}
		err := produce(hctx.Context(), func(v T) error { return out.write(v) })
		out.finish(err)
	}}
}

// lines writes a stream; producers may emit from several goroutines.
type lines struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	flush   func() error
	started bool
}

func (l *lines) start() {
	if !l.started {
		l.started = true
		l.w.Header().Set("Content-Type", ndjson)
		l.w.WriteHeader(http.StatusOK)
	}
}

func (l *lines) write(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode line: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start()
	if _, err := l.w.Write(append(line, '\n')); err != nil {
		return err
	}
	return l.flush()
}

// finish ends the stream; a caller that went away is told nothing.
func (l *lines) finish(err error) {
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		l.start()
	case l.started:
		_ = l.write(failure{Error: problem(err)})
	default:
		writeProblem(l.w, err)
	}
}

func writeProblem(w http.ResponseWriter, err error) {
	p := problem(err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}

// readStream yields the values of a stream until it ends; an error is the last thing yielded.
func readStream[T any](r io.Reader) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		dec := json.NewDecoder(r)
		for {
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil {
				if !errors.Is(err, io.EOF) {
					yield(zero, fmt.Errorf("read stream: %w", err))
				}
				return
			}
			v, err := decodeLine[T](raw)
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

func decodeLine[T any](raw []byte) (T, error) {
	var v T
	var f failure
	if err := json.Unmarshal(raw, &f); err == nil && f.Error != nil {
		return v, unproblem(f.Error)
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("decode line of stream: %w", err)
	}
	return v, nil
}
