package api_test

import (
	"testing"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/api"
	"github.com/holdfast/holdfast/api/apitest"
)

// TestDeployUsesImageHealth: a service that names no health check, and has none disabled, gets that of its image.
func TestDeployUsesImageHealth(t *testing.T) {
	a := apitest.Start(t)
	own := &holdfast.Probe{TCP: 80}
	brought := holdfast.Health{Readiness: &holdfast.Probe{
		Exec: []string{"check"}, Interval: holdfast.Duration(time.Minute), Retries: 3, StartPeriod: holdfast.Duration(time.Minute),
	}}
	a.Images.Add(api.Image{Name: "web:1", Digest: "sha256:" + digits, Health: brought})
	spec := func(name string, h holdfast.Health) holdfast.Spec {
		s := web("web:1@sha256:"+digits, 1)
		s.Name, s.Health, s.Update.Deadline, s.Routes = name, h, holdfast.Duration(2*time.Minute), nil
		return s
	}
	elsewhere := spec("elsewhere", holdfast.Health{})
	elsewhere.Image = "absent:1"
	d := holdfast.Deployment{Name: "shop", Services: []holdfast.Spec{
		spec("bare", holdfast.Health{}), spec("disabled", holdfast.Health{Disabled: true}), elsewhere, spec("own", holdfast.Health{Liveness: own}),
	}}
	_, err := a.Client.Deploy(t.Context(), d, false)
	check(t, err)
	for name, want := range map[string]struct {
		probe    string
		deadline time.Duration
	}{"bare": {"check", 4 * time.Minute}, "disabled": {"", 2 * time.Minute}, "elsewhere": {"", 2 * time.Minute}, "own": {"", 2 * time.Minute}} {
		releases, err := a.Client.Releases(t.Context(), "shop", name)
		check(t, err)
		got, probe := releases[0].Spec, ""
		if r := got.Health.Readiness; r != nil {
			probe = r.Exec[0]
		}
		if probe != want.probe || got.Update.Deadline.Std() != want.deadline {
			t.Errorf("%s has probe %q and deadline %s, want %q and %s", name, probe, got.Update.Deadline, want.probe, want.deadline)
		}
	}
	again, err := a.Client.Deploy(t.Context(), d, false)
	check(t, err)
	if len(again.Changes) != 0 {
		t.Errorf("the second deploy changes %+v", again)
	}
}

const digits = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
