package compose

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
	"github.com/holdfast/holdfast"
)

// image settles what the service runs: an image of a registry, or a source that makes one.
func (e *entry) image() {
	e.source = e.imageSource()
	e.spec.Image = e.c.Image
	switch {
	case e.source != nil:
		e.source.Ref = e.repository()
		e.spec.Image = e.source.Ref
	case e.c.Image == "":
		e.bad(at(), "says nothing to run: give image, build, or x-holdfast with go, debian or tar")
	}
	if e.c.Image != "" {
		if why := imageProblem(e.c.Image); why != "" {
			e.bad(at("image"), "%s", why)
		}
	}
	e.pullPolicy()
	e.platform()
	e.runtime()
}

// imageProblem says what is wrong with an image's name, or "".
func imageProblem(name string) string {
	if _, err := reference.ParseNormalizedNamed(name); err != nil {
		return fmt.Sprintf("%q is not an image's name: %s", name, err)
	}
	return ""
}

// imageSource returns how the image is made, or nil when a registry has it.
func (e *entry) imageSource() *holdfast.ImageSource {
	var out []*holdfast.ImageSource
	var keys []string
	add := func(key string, s *holdfast.ImageSource) {
		keys, out = append(keys, key), append(out, s)
	}
	if e.c.Build != nil {
		add("build", &holdfast.ImageSource{Build: e.build(e.c.Build)})
	}
	if e.x.Go != nil {
		add("x-holdfast.go", &holdfast.ImageSource{Go: e.x.Go})
	}
	if e.x.Debian != nil {
		add("x-holdfast.debian", &holdfast.ImageSource{Debian: e.x.Debian})
	}
	if e.x.Tar != "" {
		add("x-holdfast.tar", &holdfast.ImageSource{Tar: e.x.Tar})
	}
	if len(out) > 1 {
		e.bad(at(), "says more than one way to make its image (%s): give one", strings.Join(keys, ", "))
	}
	if len(out) == 0 {
		return nil
	}
	return out[0]
}

// repository is the name that a made image is stored under: the image key's, without tag, or one of our own.
func (e *entry) repository() string {
	if ref, err := reference.ParseNormalizedNamed(e.c.Image); err == nil {
		return reference.FamiliarName(ref)
	}
	return localRepository + e.project.Name + "/" + strings.ToLower(e.name)
}

func (e *entry) pullPolicy() {
	p := e.c.PullPolicy
	refresh := e.c.PullRefreshAfter
	if refresh != "" && p != "refresh" {
		e.bad(at("pull_refresh_after"), "is for pull_policy: refresh")
	}
	switch p {
	case "if_not_present":
		p = "missing"
	case "build":
		if e.source == nil {
			e.bad(at("pull_policy"), "build needs something to build: give build, or x-holdfast with go, debian or tar")
		}
		p = "never"
	case "refresh":
		if refresh == "" {
			refresh = "24h"
		}
		p = "every_" + refresh
	}
	if d, ok := strings.CutPrefix(p, "every_"); ok {
		if n, err := parseDuration(d); err != nil || n < holdfast.Duration(time.Second) {
			e.bad(at("pull_policy"), "%q is not a duration such as 12h", d)
		}
	}
	if e.source != nil && p == "" {
		fill(e, "pullPolicy", &p, "never", false)
	}
	fill(e, "pullPolicy", &p, "missing", p != "")
	e.spec.PullPolicy = p
}

// platform accepts the platform that images run on here.
func (e *entry) platform() {
	p := e.c.Platform
	if p == "" || p == e.opt.Platform || strings.HasPrefix(p, e.opt.Platform+"/") {
		return
	}
	e.cannot(at("platform"), "%q: this node runs %s; programs of other machines are not emulated", p, e.opt.Platform)
}

func (e *entry) runtime() {
	e.spec.Runtime, e.spec.Isolation = e.c.Runtime, e.x.Isolation
	if !slices.Contains([]string{"", "runc", "crun"}, e.c.Runtime) {
		e.cannot(at("runtime"), "%q is not done: use runc or crun, or leave it out for the one that is built in", e.c.Runtime)
	}
}

// build resolves Compose's build section.
func (e *entry) build(b *types.BuildConfig) *holdfast.BuildSource {
	out := &holdfast.BuildSource{
		Context: b.Context, Dockerfile: b.Dockerfile, DockerfileInline: b.DockerfileInline, Target: b.Target,
		Labels: nonEmpty(b.Labels), CacheFrom: b.CacheFrom, Tags: b.Tags, Network: b.Network,
		Platform: cmp.Or(e.c.Platform, first(b.Platforms)), NoCache: b.NoCache, Pull: b.Pull, ShmBytes: int64(b.ShmSize),
	}
	if b.DockerfileInline != "" && e.sets("build", "dockerfile") {
		e.bad(at("build", "dockerfile_inline"), "cannot be used together with dockerfile: give one")
	} else if b.DockerfileInline != "" {
		out.Dockerfile = ""
	}
	if len(b.Platforms) > 1 {
		e.cannot(at("build", "platforms"), "images are built for one platform: give one")
	} else if len(b.Platforms) == 1 && b.Platforms[0] != e.opt.Platform {
		e.cannot(at("build", "platforms"), "%q: this machine builds for %s", b.Platforms[0], e.opt.Platform)
	}
	for name, value := range b.Args {
		if value == nil {
			continue
		}
		if out.Args == nil {
			out.Args = map[string]string{}
		}
		out.Args[name] = *value
	}
	for _, host := range sortedKeys(b.ExtraHosts) {
		for _, ip := range b.ExtraHosts[host] {
			out.ExtraHosts = append(out.ExtraHosts, host+"="+ip)
		}
	}
	e.buildFiles(b)
	out.Secrets = e.buildSecrets(b)
	return out
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// buildFiles checks that a local context and its Dockerfile are there.
func (e *entry) buildFiles(b *types.BuildConfig) {
	if remote(b.Context) || !filepath.IsAbs(b.Context) {
		return
	}
	if !isDir(b.Context) {
		e.bad(at("build", "context"), "directory to build from does not exist: %s", displayName(b.Context))
		return
	}
	if b.DockerfileInline != "" {
		return
	}
	file := absIn(b.Context, b.Dockerfile)
	if _, err := os.Stat(file); err != nil {
		key := at("build", "dockerfile")
		if !e.sets(key...) {
			key = at("build")
		}
		e.bad(key, "%s", missing("Dockerfile", file, err))
	}
}

func (e *entry) buildSecrets(b *types.BuildConfig) []holdfast.BuildSecret {
	var out []holdfast.BuildSecret
	for i, s := range b.Secrets {
		object, ok := e.project.Secrets[s.Source]
		if !ok {
			e.badItem(at("build", "secrets", i), s.Source, "%q is not declared under the top-level secrets%s", s.Source,
				didYouMean(s.Source, sortedKeys(e.project.Secrets)))
			continue
		}
		out = append(out, holdfast.BuildSecret{ID: cmp.Or(s.Target, s.Source), File: object.File, Env: object.Environment})
	}
	return out
}
