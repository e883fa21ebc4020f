package image

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// getBlob serves content, whole or a range of it. What a push asks for is about to be named: it is not collected for a
// while.
func (g *server) getBlob(w http.ResponseWriter, r *http.Request, rt route) error {
	f, err := g.store.openBlob(rt.arg)
	if err != nil {
		return apiErr(http.StatusNotFound, "BLOB_UNKNOWN", "%s is not in the store", rt.arg)
	}
	defer f.Close()
	if r.Method == http.MethodHead {
		if err := g.store.touch(rt.arg); err != nil {
			return err
		}
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", rt.arg)
	h.Set("ETag", `"`+rt.arg+`"`)
	h.Set("Cache-Control", "max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}

// touch starts the grace time of content anew.
func (s *Store) touch(digest string) error {
	now := s.opt.Now()
	return os.Chtimes(s.blobPath(digest), now, now)
}

func (g *server) getManifest(w http.ResponseWriter, r *http.Request, rt route) error {
	digest := rt.arg
	if !digestPattern.MatchString(digest) {
		parsed, err := refOf(r, rt)
		if err != nil {
			return err
		}
		if digest, _, err = g.store.find(parsed); err != nil {
			return err
		}
	}
	data, err := g.store.readBlob(digest)
	if err != nil {
		return apiErr(http.StatusNotFound, "MANIFEST_UNKNOWN", "%s is not in the store", rt.arg)
	}
	m, err := parseManifest(data, "")
	if err != nil {
		return apiErr(http.StatusNotFound, "MANIFEST_UNKNOWN", "%s is no manifest", rt.arg)
	}
	w.Header().Set("Content-Type", string(m.mediaType))
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Header().Set("Docker-Content-Digest", digest)
	if r.Method == http.MethodHead {
		return nil
	}
	_, _ = w.Write(data) // the answer has begun: there is nobody to tell
	return nil
}

// referrers answers that nothing refers to the image: what is not an image is not stored.
func (g *server) referrers(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", string(types.OCIImageIndex))
	return json.NewEncoder(w).Encode(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}})
}

func (g *server) tags(w http.ResponseWriter, r *http.Request, rt route) error {
	full, err := ParseRef(repoOf(r, rt.name))
	if err != nil {
		return err
	}
	prefix := full.Repo + ":"
	var tags []string
	for _, name := range g.store.names() {
		if tag, ok := strings.CutPrefix(name, prefix); ok && tagPattern.MatchString(tag) {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		return apiErr(http.StatusNotFound, "NAME_UNKNOWN", "repository %s has no tags", full.Repo)
	}
	tags, err = page(w, r, tags)
	if err != nil {
		return err
	}
	return writeReply(w, map[string]any{"name": rt.name, "tags": tags})
}

// names returns all references, sorted.
func (s *Store) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.idx.Refs))
	for name := range s.idx.Refs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (g *server) catalog(w http.ResponseWriter, r *http.Request) error {
	repos := []string{}
	for _, name := range g.store.names() {
		parsed, err := ParseRef(name)
		if err != nil {
			continue // filed by another version; it cannot be asked for either
		}
		repos = append(repos, strings.TrimPrefix(parsed.Repo, canonicalHost(r.Host)+"/"))
	}
	slices.Sort(repos)
	repos, err := page(w, r, slices.Compact(repos))
	if err != nil {
		return err
	}
	return writeReply(w, map[string]any{"repositories": repos})
}

// page cuts the sorted list to what the query's n and last ask for, and links to the rest.
func page(w http.ResponseWriter, r *http.Request, list []string) ([]string, error) {
	q := r.URL.Query()
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(list, last)
		if found {
			i++
		}
		list = list[i:]
	}
	text := q.Get("n")
	if text == "" {
		return list, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return nil, apiErr(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n=%.20q is not a number of entries", text)
	}
	if n >= len(list) {
		return list, nil
	}
	if list = list[:n]; n > 0 {
		next := url.Values{"n": {text}, "last": {list[n-1]}}
		w.Header().Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", r.URL.Path, next.Encode()))
	}
	return list, nil
}
