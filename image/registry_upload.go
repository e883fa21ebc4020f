package image

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// server is the Handler of a store.
type server struct {
	store *Store

	mu      sync.Mutex
	uploads map[string]*upload
}

// maxUploads bounds how many uploads may be open at a time.
const maxUploads = 1000

// upload is content that a client is sending. It does not survive the process; the client starts again.
type upload struct {
	id   string
	repo string

	mu   sync.Mutex // held while a request works on the upload
	file *os.File   // nil when it has ended
	hash hash.Hash
	size int64
	last time.Time
}

// startUpload begins an upload, or takes content at once: in the body, or because it is there already.
func (g *server) startUpload(w http.ResponseWriter, r *http.Request, rt route) error {
	q := r.URL.Query()
	if from := q.Get("mount"); digestPattern.MatchString(from) && g.store.hasBlob(from) {
		if err := g.store.touch(from); err != nil {
			return err
		}
		created(w, rt.name, from)
		return nil
	}
	u, err := g.newUpload(rt.name)
	if err != nil {
		return err
	}
	if digest := q.Get("digest"); digest != "" {
		u.mu.Lock()
		defer u.mu.Unlock()
		return g.finish(w, r, u, digest)
	}
	u.accepted(w, http.StatusAccepted)
	return nil
}

func created(w http.ResponseWriter, name, digest string) {
	w.Header().Set("Location", "/v2/"+name+"/blobs/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

func (g *server) newUpload(repo string) (*upload, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expireLocked()
	if len(g.uploads) >= maxUploads {
		return nil, apiErr(http.StatusTooManyRequests, "TOOMANYREQUESTS", "%d uploads are open", maxUploads)
	}
	id := rand.Text()
	f, err := os.OpenFile(g.store.path(uploadDir, id), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	u := &upload{id: id, repo: repo, file: f, hash: sha256.New(), last: g.store.opt.Now()}
	g.uploads[id] = u
	return u, nil
}

// expireLocked ends uploads that nobody has worked on for the grace time.
func (g *server) expireLocked() {
	limit := g.store.opt.Now().Add(-g.store.opt.Grace)
	for id, u := range g.uploads {
		if !u.mu.TryLock() {
			continue
		}
		if u.last.Before(limit) {
			u.end()
			delete(g.uploads, id)
		}
		u.mu.Unlock()
	}
}

// end gives up the upload's file. u.mu is held.
func (u *upload) end() {
	if u.file != nil {
		discard(u.file)
		u.file = nil
	}
}

func (g *server) serveUpload(w http.ResponseWriter, r *http.Request, rt route) error {
	g.mu.Lock()
	u := g.uploads[rt.arg]
	g.mu.Unlock()
	if u == nil || u.repo != rt.name {
		return apiErr(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload")
	}
	if !u.mu.TryLock() {
		return apiErr(http.StatusConflict, "BLOB_UPLOAD_INVALID", "another request works on the upload")
	}
	defer u.mu.Unlock()
	if u.file == nil {
		return apiErr(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "the upload has ended")
	}
	u.last = g.store.opt.Now()
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		u.accepted(w, http.StatusNoContent)
		return nil
	case http.MethodPatch:
		return g.patch(w, r, u)
	case http.MethodPut:
		return g.finish(w, r, u, r.URL.Query().Get("digest"))
	case http.MethodDelete:
		g.drop(u)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return apiErr(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s is not supported here", r.Method)
}

// drop ends u. u.mu is held.
func (g *server) drop(u *upload) {
	u.end()
	g.mu.Lock()
	delete(g.uploads, u.id)
	g.mu.Unlock()
}

// accepted tells the client where to go on. An empty upload's range is "0-0" too; that is how the protocol is.
func (u *upload) accepted(w http.ResponseWriter, status int) {
	h := w.Header()
	h.Set("Location", "/v2/"+u.repo+"/blobs/uploads/"+u.id)
	h.Set("Range", fmt.Sprintf("0-%d", max(0, u.size-1)))
	h.Set("Docker-Upload-Uuid", u.id)
	w.WriteHeader(status)
}

func (g *server) patch(w http.ResponseWriter, r *http.Request, u *upload) error {
	if err := g.receive(r, u); err != nil {
		var e *apiError
		if e = asAPIError(err); e.status == http.StatusRequestedRangeNotSatisfiable {
			w.Header().Set("Location", "/v2/"+u.repo+"/blobs/uploads/"+u.id)
			w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, u.size-1)))
		}
		return err
	}
	u.accepted(w, http.StatusAccepted)
	return nil
}

// receive appends the request's body. When the client breaks off, what came so far counts.
func (g *server) receive(r *http.Request, u *upload) error {
	want := int64(-1)
	if text := r.Header.Get("Content-Range"); text != "" {
		start, end, ok := parseChunk(text)
		if !ok {
			return apiErr(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "Content-Range %.60q is not start-end", text)
		}
		if start != u.size {
			return apiErr(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "chunk starts at %d, upload is at %d", start, u.size)
		}
		want = end - start + 1
	}
	n, err := copyHashed(u, r.Body)
	if err != nil {
		if isFull(err) {
			g.drop(u)
		}
		return err
	}
	if want >= 0 && n != want {
		return apiErr(http.StatusBadRequest, "SIZE_INVALID", "chunk has %d bytes, its range %d", n, want)
	}
	return nil
}

// copyHashed appends r to u so that hash and size agree with the file whatever happens.
func copyHashed(u *upload, r io.Reader) (int64, error) {
	buf := make([]byte, 128<<10)
	total := int64(0)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			m, werr := u.file.Write(buf[:n])
			u.hash.Write(buf[:m])
			u.size += int64(m)
			total += int64(m)
			if werr != nil {
				return total, werr
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, apiErr(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "read body: %v", err)
		}
	}
}

// finish takes the last part, if there is one, checks the digest, and files the content. u.mu is held.
func (g *server) finish(w http.ResponseWriter, r *http.Request, u *upload, digest string) error {
	if !digestPattern.MatchString(digest) {
		return apiErr(http.StatusBadRequest, "DIGEST_INVALID", "%.100q is not a sha256 digest", digest)
	}
	if err := g.receive(r, u); err != nil {
		return err
	}
	defer g.drop(u)
	if got := "sha256:" + hex.EncodeToString(u.hash.Sum(nil)); got != digest {
		return apiErr(http.StatusBadRequest, "DIGEST_INVALID", "content is %s (%d bytes), not %s", got, u.size, digest)
	}
	if err := g.store.adopt(u.file, digest); err != nil {
		return err
	}
	if err := g.store.syncBlobs(); err != nil {
		return err
	}
	created(w, u.repo, digest)
	return nil
}

// parseChunk parses the range of an uploaded chunk: "start-end", with an optional "bytes ".
func parseChunk(text string) (start, end int64, ok bool) {
	text = strings.TrimPrefix(strings.TrimPrefix(text, "bytes "), "bytes=")
	text, _, _ = strings.Cut(text, "/")
	a, b, found := strings.Cut(text, "-")
	start, err1 := strconv.ParseInt(a, 10, 63)
	end, err2 := strconv.ParseInt(b, 10, 63)
	if !found || err1 != nil || err2 != nil || start < 0 || end < start || end-start >= maxSize || strings.ContainsAny(a+b, "+-") {
		return 0, 0, false
	}
	return start, end, true
}
