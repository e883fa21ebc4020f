package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// parallelImages is how many images are got at a time: builds use all cores by themselves.
const parallelImages = 4

// images gets all that the app's services need, their own images and those of hooks and mounts, and pins each reference
// to a digest. Equal images are got once.
func (a *app) images(ctx context.Context, screen *live, p *Project, f upFlags) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallelImages)
	needs := imageNeeds(p)
	for _, key := range sortedKeys(needs) {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			pinned, err := a.image(ctx, screen, p, needs[key], f)
			if err != nil {
				cancel(err)
				return
			}
			for _, ref := range needs[key].refs {
				*ref = pinned
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// need is one image that services need.
type need struct {
	service string // the first that needs it
	policy  string
	source  *holdfast.ImageSource // nil: from a registry
	ref     string
	refs    []*string // where its reference stands in the deployment
}

// imageNeeds lists the images of a deployment by what tells them apart. A hook or mount that names the image of a
// service that is built means that one.
func imageNeeds(p *Project) map[string]*need {
	needs := map[string]*need{}
	built := map[string]string{} // reference in the file → key
	specs := p.Deployment.Services
	for i := range specs {
		if src, ok := p.Sources[specs[i].Name]; ok {
			key := "source " + src.Ref + " " + specs[i].Name
			needs[key] = &need{service: specs[i].Name, source: &src}
			built[specs[i].Image] = key
		}
	}
	for i := range specs {
		for j, ref := range specs[i].ImageRefs() {
			key := *ref
			if _, ok := p.Sources[specs[i].Name]; ok && j == 0 {
				key = "source " + p.Sources[specs[i].Name].Ref + " " + specs[i].Name
			} else if b := built[*ref]; b != "" {
				key = b
			}
			if needs[key] == nil {
				needs[key] = &need{service: specs[i].Name, policy: specs[i].PullPolicy, ref: *ref}
			}
			needs[key].refs = append(needs[key].refs, ref)
		}
	}
	return needs
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// image gets one image and returns its pinned reference.
func (a *app) image(ctx context.Context, screen *live, p *Project, n *need, f upFlags) (string, error) {
	if n.source != nil {
		return a.buildImage(ctx, screen, n.service, *n.source, f)
	}
	if f.dryRun || n.policy == "never" {
		img, err := a.api().Image(ctx, n.ref)
		if errors.Is(err, holdfast.ErrNotFound) && f.dryRun {
			return n.ref, nil // said as it is: its digest is known when it is pulled
		}
		if err != nil {
			return "", fmt.Errorf("service %s: %w", n.service, err)
		}
		return pinned(n.ref, img), nil
	}
	return a.pullImage(ctx, screen, n)
}

// pinned names img by digest under the name that the user gave it.
func pinned(ref string, img api.Image) string {
	if img.Digest == "" || strings.Contains(ref, "@") {
		return ref
	}
	return ref + "@" + img.Digest
}

// pullImage pulls what a service needs. It is held until the service's release is stored.
func (a *app) pullImage(ctx context.Context, screen *live, n *need) (string, error) {
	opt := api.PullOptions{Policy: n.policy, Hold: true}
	if _, err := a.api().Image(ctx, n.ref); err == nil && (n.policy == "" || n.policy == "missing") {
		img, err := a.api().Pull(ctx, n.ref, opt, func(api.PullProgress) {})
		return pinned(n.ref, img), err
	}
	img, err := a.pull(ctx, screen, n.ref, opt, func(err error) error { return fmt.Errorf("service %s: %w", n.service, err) })
	return pinned(n.ref, img), err
}

// pull pulls one image as a job on the screen, with the user's credentials. explain is told of an error.
func (a *app) pull(ctx context.Context, screen *live, ref string, opt api.PullOptions, explain func(error) error) (api.Image, error) {
	change := screen.start("pull " + ref)
	opt.Auth = a.credentials(ctx, ref)
	layers := map[string]api.PullProgress{}
	img, err := a.api().Pull(ctx, ref, opt, func(p api.PullProgress) {
		change(func(j *job) {
			layers[p.Layer] = p
			j.detail, j.current, j.total = pullState(layers, p)
		})
	})
	if err != nil {
		err = explain(err)
	}
	screen.finish(change, size(img.SizeBytes), err)
	return img, err
}

// credentials are what the user has for ref's registry. When they cannot be read, the pull goes on without: it may need
// none, and the agent may have its own.
func (a *app) credentials(ctx context.Context, ref string) api.RegistryAuth {
	if a.Credentials == nil {
		return api.RegistryAuth{}
	}
	auth, err := a.Credentials(ctx, ref)
	if err != nil {
		a.note("%s pull %s without your credentials: %v", a.errStyle().yellow("note:"), ref, err)
		return api.RegistryAuth{}
	}
	return auth
}

// pullState sums up the layers: the last step, bytes there and bytes in all.
func pullState(layers map[string]api.PullProgress, last api.PullProgress) (detail string, current, total int64) {
	for id, l := range layers {
		if id != "" {
			current += l.Bytes
			total += l.Total
		}
	}
	return strings.TrimSpace(last.Phase + " " + last.Detail), current, total
}

// buildImage builds an image and sends it to the agent, unless the agent has it.
func (a *app) buildImage(ctx context.Context, screen *live, service string, src holdfast.ImageSource, f upFlags) (string, error) {
	change := screen.start("build " + service)
	img, detail, err := a.buildAndImport(ctx, src, f, change)
	if err != nil {
		err = fmt.Errorf("service %s: %w", service, err)
	}
	screen.finish(change, detail, err)
	return img, err
}

func (a *app) buildAndImport(ctx context.Context, src holdfast.ImageSource, f upFlags, change func(func(*job))) (ref, detail string, err error) {
	built, err := a.Build(ctx, src, BuildOptions{
		Always:   f.build,
		Have:     a.haveImage,
		Progress: func(line string) { change(func(j *job) { j.detail = line }) },
	})
	if err != nil {
		return "", "", err
	}
	var img api.Image
	if built.Tar == nil {
		detail = "unchanged"
		img, err = a.kept(ctx, built.Ref, f)
	} else {
		img, err = a.sendImage(ctx, built.Ref, !f.dryRun, built.Tar, change)
		detail = size(img.SizeBytes)
	}
	if err == nil && src.Build != nil {
		err = a.tag(ctx, img, src.Build.Tags)
	}
	return pinned(built.Ref, img), detail, err
}

// kept is an image that the agent has; unless nothing is to be deployed it is held until a release names it.
func (a *app) kept(ctx context.Context, ref string, f upFlags) (api.Image, error) {
	if f.dryRun {
		return a.api().Image(ctx, ref)
	}
	return a.api().Pull(ctx, ref, api.PullOptions{Hold: true}, func(api.PullProgress) {})
}

// tag gives an image more names.
func (a *app) tag(ctx context.Context, img api.Image, names []string) error {
	for _, name := range names {
		if err := a.api().Tag(ctx, img.Name, name); err != nil {
			return fmt.Errorf("tag it %s: %w", name, err)
		}
	}
	return nil
}

// sendImage sends a tar to the agent, shows how far it has come, and closes it.
func (a *app) sendImage(ctx context.Context, ref string, hold bool, tar io.ReadCloser, change func(func(*job))) (api.Image, error) {
	sent := &countingReader{r: tar, tell: func(n, total int64) {
		change(func(j *job) {
			j.detail, j.current, j.total = "sending it to the agent", n, total
			if n == total {
				j.detail, j.total = "unpacking", 0 // a bar that is full would look as if it hung
			}
		})
	}}
	if f, ok := tar.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			sent.total = info.Size()
		}
	}
	img, err := a.api().Import(ctx, ref, hold, sent)
	return img, errors.Join(err, tar.Close())
}

// countingReader tells how much was read, of how much; 0 when that is not known. It hides Close, and File's other
// methods, from the transport.
type countingReader struct {
	r        io.Reader
	n, total int64
	tell     func(n, total int64)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.tell(c.n, c.total)
	return n, err
}

// haveImage reports whether the agent has ref.
func (a *app) haveImage(ctx context.Context, ref string) (bool, error) {
	_, err := a.api().Image(ctx, ref)
	if errors.Is(err, holdfast.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
