package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// parallelImages is how many images are got at a time: builds use all cores by themselves.
const parallelImages = 4

// images builds and pulls what the app's services need and pins their specs to digests. Equal images are got once.
func (a *app) images(ctx context.Context, screen *live, p *Project, f upFlags) error {
	users := map[string][]int{} // what to get → indexes of services
	for i, spec := range p.Deployment.Services {
		key := spec.Image
		if src, ok := p.Sources[spec.Name]; ok {
			key = "source " + src.Ref + " " + spec.Name
		}
		users[key] = append(users[key], i)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallelImages)
	for _, key := range sortedKeys(users) {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			spec := &p.Deployment.Services[users[key][0]]
			pinned, err := a.image(ctx, screen, p, spec, f)
			if err != nil {
				cancel(err)
				return
			}
			for _, i := range users[key] {
				p.Deployment.Services[i].Image = pinned
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// image gets one service's image and returns its pinned reference.
func (a *app) image(ctx context.Context, screen *live, p *Project, spec *holdfast.Spec, f upFlags) (string, error) {
	src, ok := p.Sources[spec.Name]
	if ok {
		return a.buildImage(ctx, screen, spec.Name, src, f)
	}
	if f.dryRun || spec.PullPolicy == "never" {
		img, err := a.api().Image(ctx, spec.Image)
		if errors.Is(err, holdfast.ErrNotFound) && f.dryRun {
			return spec.Image, nil // said as it is: its digest is known when it is pulled
		}
		if err != nil {
			return "", fmt.Errorf("service %s: %w", spec.Name, err)
		}
		return pinned(spec.Image, img), nil
	}
	return a.pullImage(ctx, screen, spec)
}

// pinned names img by digest under the name that the user gave it.
func pinned(ref string, img api.Image) string {
	if img.Digest == "" || strings.Contains(ref, "@") {
		return ref
	}
	return ref + "@" + img.Digest
}

func (a *app) pullImage(ctx context.Context, screen *live, spec *holdfast.Spec) (string, error) {
	if img, err := a.api().Image(ctx, spec.Image); err == nil && (spec.PullPolicy == "" || spec.PullPolicy == "missing") {
		return pinned(spec.Image, img), nil
	}
	change := screen.start("pull " + spec.Image)
	layers := map[string]api.PullProgress{}
	img, err := a.api().Pull(ctx, spec.Image, spec.PullPolicy == "always", func(p api.PullProgress) {
		layers[p.Layer] = p
		change(func(j *job) { j.detail, j.current, j.total = pullState(layers, p) })
	})
	if err != nil {
		err = fmt.Errorf("service %s: %w", spec.Name, err)
	}
	screen.finish(change, size(img.SizeBytes), err)
	return pinned(spec.Image, img), err
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
	if built.Tar == nil {
		img, err := a.api().Image(ctx, built.Ref)
		return pinned(built.Ref, img), "unchanged", err
	}
	change(func(j *job) { j.detail = "sending it to the agent" })
	img, err := a.api().Import(ctx, built.Ref, io.NopCloser(built.Tar)) // the transport closes what it can
	err = errors.Join(err, built.Tar.Close())
	return pinned(built.Ref, img), size(img.SizeBytes), err
}

// haveImage reports whether the agent has ref.
func (a *app) haveImage(ctx context.Context, ref string) (bool, error) {
	_, err := a.api().Image(ctx, ref)
	if errors.Is(err, holdfast.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
