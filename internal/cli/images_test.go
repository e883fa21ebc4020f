package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
)

// needy is a project whose one service needs images of every kind.
func needy() *Project {
	p := arcade("nginx:1.27")
	web := &p.Deployment.Services[1]
	web.Hooks.PreStart = []holdfast.Hook{{Image: "migrate:1", Command: []string{"up"}}, {Command: []string{"true"}}}
	web.Mounts = []holdfast.Mount{{Type: "image", Source: "assets:1", Target: "/a"}, {Type: "image", Source: "holdfast.local/arcade/api", Target: "/b"}}
	p.Sources["api"] = holdfast.ImageSource{Ref: "holdfast.local/arcade/api", Build: &holdfast.BuildSource{Tags: []string{"arcade/api:latest"}}}
	return p
}

// TestUpGetsAllImages: those of hooks and mounts too, each pinned, and held until the release is stored.
func TestUpGetsAllImages(t *testing.T) {
	r := newRig(t)
	r.agent.World.Run(t)
	r.project = needy()
	r.ok("up")
	releases, err := r.agent.Client.Releases(t.Context(), "arcade", "web")
	if err != nil {
		t.Fatal(err)
	}
	spec := releases[0].Spec
	for _, tt := range []struct{ got, name string }{
		{spec.Image, "nginx:1.27"}, {spec.Hooks.PreStart[0].Image, "migrate:1"}, {spec.Mounts[0].Source, "assets:1"},
		{spec.Mounts[1].Source, "holdfast.local/arcade/api:built"},
	} {
		if name, digest, ok := strings.Cut(tt.got, "@sha256:"); !ok || name != tt.name || len(digest) != 64 {
			t.Errorf("the release names %s, want %s pinned", tt.got, tt.name)
		}
	}
	if spec.Hooks.PreStart[1].Image != "" {
		t.Errorf("a hook of the service's own image names %s", spec.Hooks.PreStart[1].Image)
	}
	built, err := r.agent.Client.Image(t.Context(), "holdfast.local/arcade/api:built")
	if err != nil {
		t.Fatal(err)
	}
	if tagged, err := r.agent.Client.Image(t.Context(), "arcade/api:latest"); err != nil || tagged.Digest != built.Digest {
		t.Errorf("the tag names %+v, %v", tagged, err)
	}
	if held := r.agent.Images.Held(); len(held) != 0 {
		t.Errorf("still held after the deploy: %v", held)
	}
}

// TestImagesHeldUntilDeployed: what up got stays when the deploy itself is refused, so that the next try has it.
func TestImagesHeldUntilDeployed(t *testing.T) {
	r := newRig(t)
	r.project = needy()
	r.project.Deployment.Services[1].DependsOn = []holdfast.Dependency{{Service: "absent", Condition: "started"}}
	if got := r.run("up"); got.code != exitUsage {
		t.Fatalf("exit code %d: %s", got.code, got.errout)
	}
	if held := r.agent.Images.Held(); len(held) != 4 {
		t.Errorf("held are %v, want four images", held)
	}
	r.ok("image", "pull", "other:1")
	if held := r.agent.Images.Held(); len(held) != 4 {
		t.Errorf("an image pulled by hand is held: %v", held)
	}
}

func TestRegistryCredentials(t *testing.T) {
	r := newRig(t)
	r.agent.World.Run(t)
	r.project = arcade("private.test/web:1")
	r.env.Credentials = func(_ context.Context, ref string) (api.RegistryAuth, error) {
		if strings.HasPrefix(ref, "private.test/") {
			return api.RegistryAuth{Username: "ada", Password: "enigma"}, nil
		}
		return api.RegistryAuth{}, errors.New("no helper docker-credential-x")
	}
	got := r.run("up")
	if got.code != 0 || strings.Contains(got.out+got.errout, "enigma") {
		t.Errorf("exit code %d\n%s%s", got.code, got.out, got.errout)
	}
	if auth := r.agent.Images.Auth("private.test/web:1"); auth.Username != "ada" || auth.Password != "enigma" {
		t.Error("the credentials did not arrive")
	}
	got = r.run("image", "pull", "nginx:1.27")
	const note = "note: pull nginx:1.27 without your credentials: no helper docker-credential-x"
	if got.code != 0 || !strings.Contains(got.errout, note) {
		t.Errorf("exit code %d\n%s", got.code, got.errout)
	}
}

func TestImageTag(t *testing.T) {
	r := newRig(t)
	r.ok("image", "pull", "nginx:1.27")
	if out := r.ok("image", "tag", "nginx:1.27", "web:stable"); !strings.HasPrefix(out, "web:stable@sha256:") {
		t.Errorf("tag printed %q", out)
	}
	if got := r.run("image", "tag", "none:1", "web:stable"); got.code != exitNotFound {
		t.Errorf("tag of no image: %d %s", got.code, got.errout)
	}
}
