package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"

	"github.com/holdfast/holdfast"
)

// Handler serves the store over the OCI distribution API (pull, push, list, delete of tags and manifests), for clients
// such as docker, podman and buildah on this machine and for other nodes. It asks for no credentials: who may reach it
// is for the caller to decide.
//
// A repository is filed under the name by which the client reached us: what is pushed to localhost:7070/web is the
// image localhost:7070/web. A name that starts with a host, and one with a query ns=<host> as containerd sends it for
// mirrors, is taken in full: /v2/holdfast.local/arcade/web/… serves holdfast.local/arcade/web.
//
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
func (s *Store) Handler() http.Handler {
	return &server{store: s, uploads: map[string]*upload{}}
}

// route is what a path of the API names.
type route struct {
	kind string // base, catalog, tags, manifest, blob, uploads, upload, referrers
	name string // repository
	arg  string // tag, digest or upload
}

var (
	namePattern   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	uploadPattern = regexp.MustCompile(`^[A-Z2-7]{26}$`)
)

// parseRoute parses the path of a request. The error has a code of the specification.
func parseRoute(path string) (route, error) {
	rest, ok := strings.CutPrefix(path, "/v2")
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return route{}, apiErr(http.StatusNotFound, "UNSUPPORTED", "the API is below /v2/")
	case rest == "" || rest == "/":
		return route{kind: "base"}, nil
	case rest == "/_catalog":
		return route{kind: "catalog"}, nil
	}
	r, ok := splitRoute(strings.TrimPrefix(rest, "/"))
	switch {
	case !ok:
		return route{}, apiErr(http.StatusNotFound, "UNSUPPORTED", "no such path")
	case len(r.name) > 255 || !namePattern.MatchString(r.name):
		return route{}, apiErr(http.StatusBadRequest, "NAME_INVALID", "%.100q is not a repository", r.name)
	}
	return r, r.checkArg()
}

// splitRoute splits "name/…": names have slashes, so the end decides.
func splitRoute(path string) (route, bool) {
	if name, ok := strings.CutSuffix(path, "/tags/list"); ok {
		return route{kind: "tags", name: name}, true
	}
	if name, ok := strings.CutSuffix(strings.TrimSuffix(path, "/"), "/blobs/uploads"); ok {
		return route{kind: "uploads", name: name}, true
	}
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return route{}, false
	}
	head, arg := path[:i], path[i+1:]
	for suffix, kind := range map[string]string{
		"/blobs/uploads": "upload", "/blobs": "blob", "/manifests": "manifest", "/referrers": "referrers",
	} {
		if name, ok := strings.CutSuffix(head, suffix); ok && arg != "" {
			return route{kind, name, arg}, true
		}
	}
	return route{}, false
}

func (r route) checkArg() error {
	switch r.kind {
	case "blob", "referrers":
		if !digestPattern.MatchString(r.arg) {
			return apiErr(http.StatusBadRequest, "DIGEST_INVALID", "%.100q is not a sha256 digest", r.arg)
		}
	case "manifest":
		if !digestPattern.MatchString(r.arg) && !tagPattern.MatchString(r.arg) {
			return apiErr(http.StatusBadRequest, "TAG_INVALID", "%.200q is neither a tag nor a sha256 digest", r.arg)
		}
	case "upload":
		if !uploadPattern.MatchString(r.arg) {
			return apiErr(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload")
		}
	}
	return nil
}

// apiError is an error as the API tells it.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.message }

func apiErr(status int, code, format string, args ...any) error {
	return &apiError{status, code, fmt.Sprintf(format, args...)}
}

// asAPIError finds the status and code for any error.
func asAPIError(err error) *apiError {
	var api *apiError
	switch {
	case errors.As(err, &api):
		return api
	case isFull(err):
		return &apiError{http.StatusInsufficientStorage, "DENIED", err.Error()}
	case errors.Is(err, holdfast.ErrNotFound):
		return &apiError{http.StatusNotFound, "MANIFEST_UNKNOWN", err.Error()}
	case errors.Is(err, holdfast.ErrConflict):
		return &apiError{http.StatusConflict, "DENIED", err.Error()}
	case errors.Is(err, holdfast.ErrInvalid), errors.Is(err, holdfast.ErrUnsupported):
		return &apiError{http.StatusBadRequest, "MANIFEST_INVALID", err.Error()}
	}
	return &apiError{http.StatusInternalServerError, "UNKNOWN", err.Error()}
}

func (g *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	rt, err := parseRoute(r.URL.Path)
	if err == nil {
		err = g.serve(w, r, rt)
	}
	if err == nil {
		return
	}
	e := asAPIError(err)
	if e.status >= 500 {
		g.store.opt.Log.Warn("registry request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	writeError(w, r, e)
}

func writeError(w http.ResponseWriter, r *http.Request, e *apiError) {
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	if r.Method != http.MethodHead {
		json.NewEncoder(w).Encode(map[string][]one{"errors": {{e.code, e.message}}}) //nolint:errcheck // the client is gone
	}
}

func (g *server) serve(w http.ResponseWriter, r *http.Request, rt route) error {
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case rt.kind == "base" && get:
		return writeReply(w, map[string]string{})
	case rt.kind == "catalog" && get:
		return g.catalog(w, r)
	case rt.kind == "tags" && get:
		return g.tags(w, r, rt)
	case rt.kind == "referrers" && get:
		return g.referrers(w)
	case rt.kind == "blob" && get:
		return g.getBlob(w, r, rt)
	case rt.kind == "manifest" && get:
		return g.getManifest(w, r, rt)
	case rt.kind == "manifest" && r.Method == http.MethodPut:
		return g.putManifest(w, r, rt)
	case rt.kind == "manifest" && r.Method == http.MethodDelete:
		return g.deleteManifest(w, r, rt)
	case rt.kind == "uploads" && r.Method == http.MethodPost:
		return g.startUpload(w, r, rt)
	case rt.kind == "upload":
		return g.serveUpload(w, r, rt)
	}
	return apiErr(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s is not supported here", r.Method)
}

func writeReply(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// repoOf returns the full name of the repository that a request names.
func repoOf(r *http.Request, name string) string {
	if ns := r.URL.Query().Get("ns"); ns != "" {
		return ns + "/" + name
	}
	if first, _, more := strings.Cut(name, "/"); more && (strings.Contains(first, ".") || first == "localhost") {
		return name
	}
	return canonicalHost(r.Host) + "/" + name
}

// canonicalHost gives this machine one name.
func canonicalHost(hostport string) string {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return hostport
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return net.JoinHostPort("localhost", port)
	}
	return hostport
}

// refOf returns the image reference that a request's route names.
func refOf(r *http.Request, rt route) (Ref, error) {
	text := repoOf(r, rt.name)
	if digestPattern.MatchString(rt.arg) {
		return ParseRef(text + "@" + rt.arg)
	}
	return ParseRef(text + ":" + rt.arg)
}
