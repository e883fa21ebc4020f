package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/holdfast/holdfast"
)

// Auth is what a registry asks for; the zero value is anonymous.
type Auth struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identityToken,omitempty"`
	RegistryToken string `json:"registryToken,omitempty"`
}

// Credentials returns what the user's Docker configuration ($DOCKER_CONFIG or ~/.docker/config.json, and the credential
// helpers that it names) holds for the registry of ref. For the process that has the user's home: the CLI.
func Credentials(ctx context.Context, ref string) (Auth, error) {
	r, err := ParseRef(ref)
	if err != nil {
		return Auth{}, err
	}
	repo, err := name.NewRepository(r.Repo)
	if err != nil {
		return Auth{}, holdfast.Errorf(holdfast.ErrInvalid, "parse repository: %w", err)
	}
	found, err := authn.Resolve(ctx, authn.DefaultKeychain, repo)
	if err != nil {
		return Auth{}, fmt.Errorf("read docker configuration: %w", err)
	}
	cfg, err := authn.Authorization(ctx, found)
	if err != nil {
		return Auth{}, fmt.Errorf("get credentials for %s: %w", r.Host(), err)
	}
	return Auth{cfg.Username, cfg.Password, cfg.IdentityToken, cfg.RegistryToken}, nil
}

func (a Auth) authenticator() authn.Authenticator {
	if a == (Auth{}) {
		return authn.Anonymous
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	})
}

// repository is one repository of a registry that we are logged in to.
type repository struct {
	client *http.Client
	base   url.URL // …/v2/<repository>
}

// connect logs in to the registry at host for pulling from the repository path.
func (s *Store) connect(ctx context.Context, host, path string, auth Auth) (*repository, error) {
	var opts []name.Option
	if s.isPlainHTTP(host) {
		opts = append(opts, name.Insecure)
	}
	repo, err := name.NewRepository(host+"/"+path, opts...)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "parse repository: %w", err)
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth.authenticator(), s.opt.Transport, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, fmt.Errorf("connect to registry %s: %w", host, remoteError(err))
	}
	base := url.URL{Scheme: repo.Registry.Scheme(), Host: repo.RegistryStr(), Path: "/v2/" + repo.RepositoryStr()}
	return &repository{client: &http.Client{Transport: rt}, base: base}, nil
}

// isPlainHTTP reports whether host may be talked to without TLS: this machine, and what the options name.
func (s *Store) isPlainHTTP(host string) bool {
	name := host
	if i := strings.LastIndexByte(host, ':'); i > 0 && !strings.HasSuffix(host, "]") {
		name = host[:i]
	}
	if name == "localhost" || name == "[::1]" || strings.HasPrefix(name, "127.") {
		return true
	}
	for _, insecure := range s.opt.Insecure {
		if insecure == host {
			return true
		}
	}
	return false
}

// get sends a GET for path below the repository. Answers but 200, 206 and 416 are errors.
func (r *repository) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	u := r.base
	u.Path += path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for key, values := range header {
		req.Header[key] = values
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, remoteError(err)
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable); err != nil {
		resp.Body.Close()
		return nil, remoteError(err)
	}
	return resp, nil
}

var acceptManifests = http.Header{"Accept": {
	string(types.OCIImageIndex) + "," + string(types.OCIManifestSchema1) + "," +
		string(types.DockerManifestList) + "," + string(types.DockerManifestSchema2),
}}

// manifest fetches the manifest that a tag or digest names, and checks it against want unless that is "".
func (r *repository) manifest(ctx context.Context, which, want string) (data []byte, m manifest, err error) {
	resp, err := r.get(ctx, "/manifests/"+which, acceptManifests)
	if err != nil {
		return nil, manifest{}, err
	}
	defer resp.Body.Close()
	data, err = readSmall(resp.Body)
	if err != nil {
		return nil, manifest{}, fmt.Errorf("read manifest: %w", remoteError(err))
	}
	if want == "" {
		want = resp.Header.Get("Docker-Content-Digest")
	}
	if got := digestOf(data); want != "" && strings.HasPrefix(want, "sha256:") && got != want {
		return nil, manifest{}, holdfast.Errorf(holdfast.ErrInvalid, "manifest %s has content %s", want, got)
	}
	m, err = parseManifest(data, resp.Header.Get("Content-Type"))
	return data, m, err
}

// remoteError gives err the kind that says whether another try is of use.
func remoteError(err error) error {
	var te *transport.Error
	switch {
	case holdfast.KindOf(err) != nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &te) && te.StatusCode == http.StatusNotFound:
		return holdfast.Errorf(holdfast.ErrNotFound, "%w", err)
	case errors.As(err, &te) && (te.StatusCode == http.StatusUnauthorized || te.StatusCode == http.StatusForbidden):
		return holdfast.Errorf(holdfast.ErrInvalid, "%w (is it the right name, and does `docker login` know the registry?)", err)
	case errors.As(err, &te) && te.StatusCode < 500 && te.StatusCode != http.StatusTooManyRequests:
		return holdfast.Errorf(holdfast.ErrInvalid, "%w", err)
	case errors.Is(err, io.EOF):
		return holdfast.Errorf(holdfast.ErrUnavailable, "%w", io.ErrUnexpectedEOF)
	}
	return holdfast.Errorf(holdfast.ErrUnavailable, "%w", err)
}
