package api

import "net/http"

// tarWriter answers with the bytes written to it. An error before the first byte becomes a problem; one after it cuts
// the connection, so that the caller does not take half a tar for a whole one.
type tarWriter struct {
	w       http.ResponseWriter
	started bool
}

func (t *tarWriter) Write(p []byte) (int, error) {
	if !t.started {
		t.started = true
		t.w.Header().Set("Content-Type", tarType)
		t.w.WriteHeader(http.StatusOK)
	}
	return t.w.Write(p)
}

func (t *tarWriter) finish(err error) {
	switch {
	case err == nil && !t.started:
		_, _ = t.Write(nil)
	case err == nil:
	case !t.started:
		writeProblem(t.w, err)
	default:
		panic(http.ErrAbortHandler) // net/http's own way to cut a connection without a log line
	}
}
