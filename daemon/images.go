package daemon

import (
	"context"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/agent"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/compose"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/image"
	"github.com/holdfast/holdfast/store"
)

// images is the node's image store as the agent and the API see it.
type images struct {
	store *image.Store
	state *store.Store
	holds *holds
}

// Ensure implements agent.Images.
func (i images) Ensure(ctx context.Context, ref, policy string) (agent.Image, error) {
	img, err := i.pull(ctx, ref, policy, image.Auth{}, nil)
	if err != nil {
		return agent.Image{}, err
	}
	c := img.Config.Config
	return agent.Image{
		Config: imagespec.ImageConfig{
			User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Volumes: c.Volumes,
			WorkingDir: c.WorkingDir, Labels: c.Labels, StopSignal: c.StopSignal,
		},
		Rootfs: container.Rootfs{EROFS: img.EROFS, Dirs: img.Dirs},
	}, nil
}

func (i images) pull(ctx context.Context, ref, policy string, auth image.Auth, progress image.ProgressFunc) (image.Image, error) {
	if auth == (image.Auth{}) {
		var err error
		if auth, err = image.Credentials(ctx, ref); err != nil {
			return image.Image{}, fmt.Errorf("read the agent's registry credentials: %w", err)
		}
	}
	return i.store.Pull(ctx, ref, image.PullOptions{Policy: policy, Auth: auth, Progress: progress})
}

// Pull implements api.Images.
func (i images) Pull(ctx context.Context, ref string, opt api.PullOptions, progress func(api.PullProgress)) (api.Image, error) {
	img, err := i.pull(ctx, ref, opt.Policy, image.Auth(opt.Auth), func(p image.Progress) { progress(pullProgress(ref, p)) })
	if err == nil && opt.Hold {
		i.holds.add(img.Digest, i.store.Hold(img.Digest))
	}
	return i.view(img), err
}

func pullProgress(ref string, p image.Progress) api.PullProgress {
	phase := map[image.Step]string{
		image.Resolving: "resolving", image.Waiting: "waiting", image.Downloading: "pulling", image.Retrying: "pulling",
		image.Unpacking: "unpacking", image.Importing: "unpacking", image.Building: "unpacking", image.Done: "done",
	}[p.Step]
	return api.PullProgress{Ref: ref, Layer: p.Layer, Phase: phase, Bytes: p.Current, Total: p.Total, Detail: p.Text}
}

// Import implements api.Images.
func (i images) Import(ctx context.Context, ref string, hold bool, r io.Reader) (api.Image, error) {
	img, err := i.store.Import(ctx, r, ref, nil)
	if err == nil && hold {
		i.holds.add(img.Digest, i.store.Hold(img.Digest))
	}
	return i.view(img), err
}

// Tag implements api.Images.
func (i images) Tag(ctx context.Context, ref, name string) error { return i.store.Tag(ctx, ref, name) }

// Settle implements api.Images.
func (i images) Settle(refs []string) {
	for _, ref := range refs {
		if _, digest, ok := strings.Cut(ref, "@"); ok {
			i.holds.drop(digest)
		}
	}
}

// List implements api.Images.
func (i images) List(ctx context.Context) ([]api.Image, error) {
	all, err := i.store.List(ctx)
	if err != nil {
		return nil, err
	}
	used := i.used()
	views := make([]api.Image, 0, len(all))
	for _, img := range all {
		v := i.view(img)
		v.InUse = used.keeps(img.Ref, img.Digest)
		views = append(views, v)
	}
	return views, nil
}

// Get implements api.Images.
func (i images) Get(ctx context.Context, ref string) (api.Image, error) {
	img, err := i.store.Get(ctx, ref)
	return i.view(img), err
}

// Remove implements api.Images.
func (i images) Remove(ctx context.Context, ref string) error {
	img, err := i.store.Get(ctx, ref)
	if err != nil {
		return err
	}
	if i.used().keeps(img.Ref, img.Digest) {
		return holdfast.Errorf(holdfast.ErrConflict, "image %s: a release in history needs it; remove its app first (holdfast down)", ref)
	}
	return i.store.Remove(ctx, ref)
}

// Prune implements api.Images.
func (i images) Prune(ctx context.Context) (api.Pruned, error) {
	p, err := i.store.Prune(ctx, i.used().keeps)
	return api.Pruned{Removed: p.Images, FreedBytes: p.Bytes}, err
}

func (i images) view(img image.Image) api.Image {
	var size int64
	for _, l := range img.Layers {
		size += l.Size
	}
	return api.Image{
		Name: img.Ref, Digest: img.Digest, SizeBytes: size, Created: img.Created,
		Platform: img.Config.OS + "/" + img.Config.Architecture, Health: healthOf(img.Config.Config),
	}
}

// healthOf is the health check that an image brings along.
func healthOf(c v1.Config) holdfast.Health {
	h := c.Healthcheck
	if h == nil {
		return holdfast.Health{}
	}
	return compose.ImageHealth(h.Test, c.Shell, holdfast.Probe{
		Interval: holdfast.Duration(h.Interval), Timeout: holdfast.Duration(h.Timeout),
		StartPeriod: holdfast.Duration(h.StartPeriod), Retries: h.Retries,
	})
}

// imageUse is what releases in history name.
type imageUse struct{ digests map[string]bool }

func (i images) used() imageUse {
	use := imageUse{map[string]bool{}}
	for _, r := range i.state.Snapshot().Releases.All("") {
		for _, ref := range r.Spec.ImageRefs() {
			use.add(*ref)
		}
	}
	return use
}

// add notes a reference by its digest, or by its name when it has none.
func (u imageUse) add(ref string) {
	if ref == "" {
		return
	}
	if _, digest, ok := strings.Cut(ref, "@"); ok {
		ref = digest
	}
	u.digests[ref] = true
}

func (u imageUse) keeps(ref, digest string) bool { return u.digests[digest] || u.digests[ref] }
