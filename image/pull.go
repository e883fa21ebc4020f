package image

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast/holdfast"
)

// PullOptions says how to pull.
type PullOptions struct {
	Policy   string // see Spec.PullPolicy; "" is missing
	Auth     Auth
	Progress ProgressFunc // may be nil
	// Mirrors are hosts (host:port) that are asked first for a pinned reference, such as other nodes. They are told
	// the registry's name as Handler understands it.
	Mirrors []string
}

// Pull makes sure that the store has the image ref as far as the policy asks, and returns it. ErrNotFound when there
// is none, ErrInvalid when what the registry sends is not what the digests say or the registry refuses, ErrUnsupported
// when it is not for this platform, ErrUnavailable when the registry cannot be reached. What an interrupted download
// got so far is kept and used by the next; else nothing remains of a failed pull.
func (s *Store) Pull(ctx context.Context, ref string, opt PullOptions) (Image, error) {
	r, err := ParseRef(ref)
	if err != nil {
		return Image{}, err
	}
	report := &reporter{fn: opt.Progress}
	unlock, err := s.locks.lock(ctx, "pull "+r.String(), func() { report.report(Progress{Step: Waiting, Text: r.String()}) })
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	img, need, err := s.local(ctx, r, opt.Policy)
	if err != nil || !need {
		return img, err
	}
	img, err = s.pullAny(ctx, r, opt, report)
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", r, s.explainFull(err))
	}
	report.report(Progress{Step: Done, Text: r.String()})
	return img, nil
}

// local returns the image if the store has it and it need not be pulled.
func (s *Store) local(ctx context.Context, ref Ref, policy string) (img Image, need bool, err error) {
	digest, rec, err := s.find(ref)
	has := err == nil
	need, err = needsPull(policy, has, s.pulled(ref), s.opt.Now())
	if err != nil {
		return Image{}, false, err
	}
	if has && ref.Digest != "" { // its content cannot change
		need = false
	}
	if need && policy == "never" {
		return Image{}, false, holdfast.Errorf(holdfast.ErrNotFound, "image %s is not in the store, and its pull policy is never", ref)
	}
	if need {
		return Image{}, true, nil
	}
	defer s.hold(append(rec.content(digest), rec.Rootfs)...)()
	img, err = s.describe(ctx, ref, digest, rec)
	return img, false, err
}

// pullAny pulls from the first source that has the image: mirrors, then its registry.
func (s *Store) pullAny(ctx context.Context, ref Ref, opt PullOptions, report *reporter) (Image, error) {
	if ref.Digest != "" {
		for _, mirror := range opt.Mirrors {
			img, err := s.pullFrom(ctx, mirror, ref.Host(), Auth{}, ref, report)
			if err == nil || ctx.Err() != nil || isFull(err) {
				return img, err
			}
			s.opt.Log.Info("mirror did not serve image", "mirror", mirror, "image", ref.String(), "reason", err)
		}
	}
	if ref.Host() == LocalHost {
		return Image{}, holdfast.Errorf(holdfast.ErrNotFound, "it is not in the store, and no registry has it: it was built or imported under this name")
	}
	return s.pullFrom(ctx, registryHost(ref.Host()), "", opt.Auth, ref, report)
}

// pullFrom pulls from the registry at host. ns is the name of the registry that it is a mirror of, or "".
func (s *Store) pullFrom(ctx context.Context, host, ns string, auth Auth, ref Ref, report *reporter) (Image, error) {
	report.report(Progress{Step: Resolving, Text: host})
	repo, err := s.connect(ctx, host, ref.Path(), auth)
	if err != nil {
		return Image{}, err
	}
	if ns != "" {
		repo.base.RawQuery = url.Values{"ns": {ns}}.Encode()
	}
	p := &pull{store: s, repo: repo, report: report}
	if err := p.resolve(ctx, ref); err != nil {
		return Image{}, err
	}
	release := s.hold(append(p.rec.content(p.digest), s.rootfsName(p.config.RootFS.DiffIDs))...)
	var img Image
	if err = p.fetch(ctx); err == nil {
		img, err = s.add(ctx, ref, p.digest, p.rec)
	}
	release()
	if isFull(err) {
		err = errors.Join(err, s.forget(p.rec.content(p.digest)), s.dropPartials(p.rec.Layers))
	}
	return img, err
}

// LocalHost is the registry in the names of images that are built, not pulled. There is no such host.
const LocalHost = "holdfast.local"

// registryHost is where the registry of that name is reached.
func registryHost(host string) string {
	if host == "docker.io" {
		return "index.docker.io"
	}
	return host
}

// pull is one image on its way from one registry.
type pull struct {
	store  *Store
	repo   *repository
	report *reporter

	digest    string   // of what the reference resolves to
	documents [][]byte // index, manifest and config
	manifest  *v1.Manifest
	config    *v1.ConfigFile
	rec       record
}

// resolve fetches and checks all but the layers.
func (p *pull) resolve(ctx context.Context, ref Ref) error {
	which := ref.Tag
	if ref.Digest != "" {
		which = ref.Digest
	}
	data, m, err := p.repo.manifest(ctx, which, ref.Digest)
	if err != nil {
		return err
	}
	p.digest, p.documents = digestOf(data), [][]byte{data}
	p.rec.Manifest = p.digest
	if m.index != nil {
		d, err := choose(m.index, p.store.opt.Platform)
		if err != nil {
			return err
		}
		p.rec.Manifest = d.Digest.String()
		if data, m, err = p.repo.manifest(ctx, p.rec.Manifest, p.rec.Manifest); err != nil {
			return err
		}
		if m.image == nil {
			return holdfast.Errorf(holdfast.ErrInvalid, "%s is an index in an index", p.rec.Manifest)
		}
		p.documents = append(p.documents, data)
	}
	p.manifest = m.image
	p.rec.Layers = layersOf(m.image)
	p.rec.Config = m.image.Config.Digest.String()
	return p.resolveConfig(ctx)
}

func (p *pull) resolveConfig(ctx context.Context) error {
	resp, err := p.repo.get(ctx, "/blobs/"+p.rec.Config, nil)
	if err != nil {
		return fmt.Errorf("fetch image config: %w", err)
	}
	defer resp.Body.Close()
	data, err := readSmall(resp.Body)
	if err != nil {
		return fmt.Errorf("fetch image config: %w", remoteError(err))
	}
	if got := digestOf(data); got != p.rec.Config {
		return holdfast.Errorf(holdfast.ErrInvalid, "image config %s has content %s (%d of %d bytes)", p.rec.Config, got, len(data), p.manifest.Config.Size)
	}
	p.documents = append(p.documents, data)
	p.config, err = p.store.parseConfig(data, p.manifest)
	return err
}

// fetch downloads the layers, several at a time, and unpacks each as soon as it and all below it are there.
func (p *pull) fetch(ctx context.Context) error {
	for _, data := range p.documents {
		if _, err := p.store.putBytes(ctx, data); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	slots := make(chan struct{}, p.store.opt.Parallel)
	there := make([]chan struct{}, len(p.rec.Layers))
	for i, l := range p.rec.Layers {
		there[i] = make(chan struct{})
		g.Go(func() error {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			defer func() { <-slots }()
			if err := p.store.download(ctx, p.repo, l, p.report); err != nil {
				return fmt.Errorf("layer %d of %d (%s): %w", i+1, len(p.rec.Layers), l.Digest, err)
			}
			close(there[i])
			return nil
		})
	}
	g.Go(func() (err error) {
		u := unpacking{layers: p.rec.Layers, diffIDs: p.config.RootFS.DiffIDs, report: p.report}
		u.ready = func(ctx context.Context, i int) error {
			select {
			case <-there[i]:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		p.rec.Rootfs, p.rec.RootfsBytes, err = p.store.unpack(ctx, u)
		return err
	})
	return g.Wait()
}
