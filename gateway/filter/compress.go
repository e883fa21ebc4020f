package filter

import (
	"compress/flate"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/holdfast/holdfast"
)

// encoder compresses one answer at a time.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// zstdWindow is a megabyte: what a client must have to read the answer (RFC 9659 allows eight).
const zstdWindow = 1 << 20

// encoders are pools of encoders by content coding. Levels are those at which a byte saved costs the least CPU time.
var encoders = map[string]*sync.Pool{
	"gzip": {New: func() any {
		e, _ := gzip.NewWriterLevel(nil, flate.BestSpeed+4)
		return e
	}},
	"br": {New: func() any { return brotli.NewWriterLevel(nil, 4) }},
	"zstd": {New: func() any {
		e, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		return e
	}},
}

// compressor compresses answers that are worth it.
type compressor struct{ *holdfast.Compress }

func compression(r *holdfast.Route, _ Options) (layer, error) {
	if r.Compress == nil {
		return nil, nil
	}
	return compressor{r.Compress}, nil
}

func (c compressor) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	cw := &compressWriter{ResponseWriter: w, rules: c.Compress, request: r}
	next.ServeHTTP(cw, r)
	cw.finish() // not when next panics: a cut answer must not look whole
}

// compressWriter compresses the body when the header says that it may.
type compressWriter struct {
	http.ResponseWriter
	rules   *holdfast.Compress
	request *http.Request
	done    bool
	enc     encoder
	pool    *sync.Pool
}

func (w *compressWriter) WriteHeader(status int) {
	if !w.done && isFinal(status) {
		w.done = true
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *compressWriter) begin(status int) {
	h := w.Header()
	if !compressible(w.rules, h, status) {
		return
	}
	vary(h, "Accept-Encoding")
	coding := negotiate(w.request.Header["Accept-Encoding"], w.rules.Encodings)
	if coding == "" || w.request.Method == http.MethodHead {
		return
	}
	h.Set("Content-Encoding", coding)
	h.Del("Content-Length")
	h.Del("Accept-Ranges")
	h.Del("Content-Md5")
	if tag := h.Get("Etag"); strings.HasPrefix(tag, `"`) {
		h.Set("Etag", "W/"+tag) // other bytes, same meaning
	}
	w.pool = encoders[coding]
	w.enc = w.pool.Get().(encoder)
	w.enc.Reset(w.ResponseWriter)
}

// compressible reports whether an answer may be compressed and is worth it.
func compressible(rules *holdfast.Compress, h http.Header, status int) bool {
	if status < 200 || status == http.StatusNoContent || status == http.StatusPartialContent || status == http.StatusNotModified {
		return false
	}
	if h.Get("Content-Encoding") != "" || strings.Contains(strings.ToLower(h.Get("Cache-Control")), "no-transform") {
		return false
	}
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil && n < rules.MinBytes {
		return false
	}
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind != "text/event-stream" && slices.ContainsFunc(rules.Types, func(pattern string) bool {
		prefix, all := strings.CutSuffix(pattern, "*")
		return pattern == kind || all && strings.HasPrefix(kind, prefix)
	})
}

func (w *compressWriter) Write(p []byte) (int, error) {
	if !w.done {
		w.WriteHeader(http.StatusOK)
	}
	if w.enc != nil {
		return w.enc.Write(p)
	}
	return w.ResponseWriter.Write(p)
}

// FlushError sends what was written so far.
func (w *compressWriter) FlushError() error {
	if w.enc != nil {
		if err := w.enc.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController hijack.
func (w *compressWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *compressWriter) finish() {
	if w.enc == nil {
		return
	}
	if w.enc.Close() == nil {
		w.enc.Reset(nil)
		w.pool.Put(w.enc)
	}
	w.enc = nil
}

// negotiate returns the first of codings among those that the Accept-Encoding lines like best, or "" for none.
func negotiate(lines, codings []string) string {
	likes := map[string]float64{}
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
				likes[name] = quality(params)
			}
		}
	}
	best, most := "", 0.0
	for _, coding := range codings {
		q, ok := likes[coding]
		if !ok {
			q = likes["*"]
		}
		if q > most {
			best, most = coding, q
		}
	}
	return best
}

// quality reads a weight (RFC 9110 §12.4.2); one that cannot be read is 0.
func quality(params string) float64 {
	name, value, ok := strings.Cut(params, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
		return 1
	}
	q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(q >= 0 && q <= 1) {
		return 0
	}
	return q
}
