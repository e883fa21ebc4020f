package apitest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// Images holds images by name. Any name but one that starts with "absent" can be pulled.
type Images struct {
	mu     sync.Mutex
	images []api.Image
	held   []string
	auths  map[string]api.RegistryAuth
}

// Held lists the digests of images that are held, sorted.
func (m *Images) Held() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.Sort(m.held)
	return slices.Compact(slices.Clone(m.held))
}

// Auth returns what ref was last pulled with.
func (m *Images) Auth(ref string) api.RegistryAuth {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.auths[ref]
}

func (m *Images) hold(img api.Image, hold bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if hold {
		m.held = append(m.held, img.Digest)
	}
}

// Settle implements api.Images.
func (m *Images) Settle(refs []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ref := range refs {
		_, digest, _ := strings.Cut(ref, "@")
		m.held = slices.DeleteFunc(m.held, func(d string) bool { return d == digest })
	}
}

// Tag implements api.Images.
func (m *Images) Tag(ctx context.Context, ref, name string) error {
	img, err := m.Get(ctx, ref)
	if err != nil {
		return err
	}
	img.Name = name
	m.Add(img)
	return nil
}

// Add puts an image there.
func (m *Images) Add(img api.Image) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.images = append(m.images, img)
}

func digestOf(text string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))) }

// Pull implements api.Images.
func (m *Images) Pull(ctx context.Context, ref string, opt api.PullOptions, progress func(api.PullProgress)) (api.Image, error) {
	if img, err := m.Get(ctx, ref); opt.Policy != "always" && (err == nil || opt.Policy == "never") {
		m.hold(img, opt.Hold)
		return img, err
	}
	m.mu.Lock()
	if m.auths == nil {
		m.auths = map[string]api.RegistryAuth{}
	}
	m.auths[ref] = opt.Auth
	m.mu.Unlock()
	progress(api.PullProgress{Ref: ref, Phase: "resolve"})
	if len(ref) >= 6 && ref[:6] == "absent" {
		return api.Image{}, holdfast.Errorf(holdfast.ErrNotFound, "pull %s: the registry has no such image", ref)
	}
	for _, n := range []int64{512, 1024} {
		progress(api.PullProgress{Ref: ref, Layer: digestOf("layer"), Phase: "download", Bytes: n, Total: 1024})
	}
	img := api.Image{Name: ref, Digest: digestOf(ref), SizeBytes: 1024, Created: Epoch, Platform: "linux/amd64"}
	m.Add(img)
	m.hold(img, opt.Hold)
	return img, nil
}

// Import implements api.Images.
func (m *Images) Import(_ context.Context, ref string, hold bool, r io.Reader) (api.Image, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return api.Image{}, err
	}
	if len(data) == 0 {
		return api.Image{}, holdfast.Errorf(holdfast.ErrInvalid, "import %s: the tar is empty", ref)
	}
	img := api.Image{Name: ref, Digest: digestOf(string(data)), SizeBytes: int64(len(data)), Created: Epoch}
	m.Add(img)
	m.hold(img, hold)
	return img, nil
}

// List implements api.Images.
func (m *Images) List(context.Context) ([]api.Image, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.images)
	slices.SortFunc(out, func(a, b api.Image) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Get implements api.Images.
func (m *Images) Get(_ context.Context, ref string) (api.Image, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, img := range m.images {
		if img.Name == ref || img.Digest == ref || img.Pinned() == ref {
			return img, nil
		}
	}
	return api.Image{}, holdfast.Errorf(holdfast.ErrNotFound, "no image %s", ref)
}

// Remove implements api.Images.
func (m *Images) Remove(ctx context.Context, ref string) error {
	img, err := m.Get(ctx, ref)
	if err != nil {
		return err
	}
	if img.InUse {
		return holdfast.Errorf(holdfast.ErrConflict, "image %s is needed by a release", ref)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.images = slices.DeleteFunc(m.images, func(i api.Image) bool { return i.Name == img.Name })
	return nil
}

// Prune implements api.Images.
func (m *Images) Prune(context.Context) (api.Pruned, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := api.Pruned{Removed: []string{}}
	for _, img := range m.images {
		if !img.InUse {
			p.Removed = append(p.Removed, img.Name)
			p.FreedBytes += img.SizeBytes
		}
	}
	m.images = slices.DeleteFunc(m.images, func(i api.Image) bool { return !i.InUse })
	return p, nil
}

// Volumes holds volumes by name.
type Volumes struct {
	mu      sync.Mutex
	volumes []api.VolumeInfo
}

// Add puts a volume there.
func (m *Volumes) Add(v api.VolumeInfo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.volumes = append(m.volumes, v)
}

// List implements api.Volumes.
func (m *Volumes) List(context.Context) ([]api.VolumeInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.volumes), nil
}

// Get implements api.Volumes.
func (m *Volumes) Get(_ context.Context, name string) (api.VolumeInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.volumes {
		if v.Name == name {
			return v, nil
		}
	}
	return api.VolumeInfo{}, holdfast.Errorf(holdfast.ErrNotFound, "no volume %q", name)
}

// Remove implements api.Volumes.
func (m *Volumes) Remove(ctx context.Context, name string) error {
	v, err := m.Get(ctx, name)
	if err != nil {
		return err
	}
	if len(v.UsedBy) > 0 {
		return holdfast.Errorf(holdfast.ErrConflict, "volume %s is in use by %s", name, v.UsedBy[0])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.volumes = slices.DeleteFunc(m.volumes, func(v api.VolumeInfo) bool { return v.Name == name })
	return nil
}

// Prune implements api.Volumes.
func (m *Volumes) Prune(context.Context) (api.Pruned, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := api.Pruned{Removed: []string{}}
	for _, v := range m.volumes {
		if v.App == "" {
			p.Removed = append(p.Removed, v.Name)
			p.FreedBytes += v.SizeBytes
		}
	}
	m.volumes = slices.DeleteFunc(m.volumes, func(v api.VolumeInfo) bool { return v.App == "" })
	return p, nil
}
