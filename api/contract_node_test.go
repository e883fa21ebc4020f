package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/apitest"
)

func callImages(t *testing.T, a *apitest.Agent, c *api.Client) {
	t.Helper()
	ctx := t.Context()
	var phases []string
	img, err := c.Pull(ctx, "nginx:1", api.PullOptions{Auth: api.RegistryAuth{Username: "ada", Password: "secret"}}, func(p api.PullProgress) { phases = append(phases, p.Phase) })
	check(t, err)
	if img.Name != "nginx:1" || !slices.Equal(phases, []string{"resolve", "download", "download", "done"}) {
		t.Errorf("pulled %+v with %v", img, phases)
	}
	if got := a.Images.Auth("nginx:1"); got.Username != "ada" || got.Password != "secret" {
		t.Error("the credentials did not arrive")
	}
	check(t, c.Tag(ctx, "nginx:1", "nginx:again"))
	check(t, c.RemoveImage(ctx, "nginx:again"))
	img, err = c.Import(ctx, "tools:1", false, strings.NewReader("a tar"))
	check(t, err)
	if img.SizeBytes != 5 {
		t.Errorf("imported %+v", img)
	}
	if one, err := c.Image(ctx, "tools:1"); err != nil || one.Digest != img.Digest {
		t.Errorf("image is %+v, %v", one, err)
	}
	list, err := c.Images(ctx)
	check(t, err)
	if len(list) != 2 {
		t.Errorf("images are %+v", list)
	}
	check(t, c.RemoveImage(ctx, "tools:1"))
	pruned, err := c.PruneImages(ctx)
	check(t, err)
	if !slices.Equal(pruned.Removed, []string{"nginx:1"}) {
		t.Errorf("pruned %+v", pruned)
	}
}

func callVolumes(t *testing.T, a *apitest.Agent, c *api.Client) {
	t.Helper()
	ctx := t.Context()
	a.Volumes.Add(api.VolumeInfo{Name: "data", App: "shop"})
	a.Volumes.Add(api.VolumeInfo{Name: "old", SizeBytes: 7})
	list, err := c.Volumes(ctx)
	check(t, err)
	if len(list) != 2 {
		t.Errorf("volumes are %+v", list)
	}
	v, err := c.Volume(ctx, "data")
	check(t, err)
	if v.App != "shop" {
		t.Errorf("volume is %+v", v)
	}
	pruned, err := c.PruneVolumes(ctx)
	check(t, err)
	if pruned.FreedBytes != 7 {
		t.Errorf("pruned %+v", pruned)
	}
	check(t, c.RemoveVolume(ctx, "data"))
}
