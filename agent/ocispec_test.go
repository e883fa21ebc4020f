package agent

import (
	"errors"
	"slices"
	"testing"

	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/holdfast/holdfast"
)

func TestArgv(t *testing.T) {
	image := imagespec.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"a"}}
	for _, tc := range []struct {
		name    string
		process holdfast.Process
		want    []string
	}{
		{"image's", holdfast.Process{}, []string{"/entry", "a"}},
		{"command", holdfast.Process{Command: []string{"b"}}, []string{"/entry", "b"}},
		{"entrypoint drops the image's command", holdfast.Process{Entrypoint: []string{"/mine"}}, []string{"/mine"}},
		{"both", holdfast.Process{Entrypoint: []string{"/mine"}, Command: []string{"b"}}, []string{"/mine", "b"}},
		{"empty entrypoint", holdfast.Process{Entrypoint: []string{}, Command: []string{"b"}}, []string{"b"}},
		{"empty command", holdfast.Process{Command: []string{}}, []string{"/entry"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := argv(tc.process, image); !slices.Equal(got, tc.want) {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestEnvironmentLaterWins(t *testing.T) {
	got := environment([]string{"A=1", "B=1"}, []string{"B=2", "C=2"}, []string{"A=3"})
	if want := []string{"A=3", "B=2", "C=2"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestSafeByDefault(t *testing.T) {
	oci, err := ociSpec(&holdfast.Spec{Name: "web"}, imagespec.ImageConfig{Cmd: []string{"x"}}, "web-1")
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case !oci.Process.NoNewPrivileges:
		t.Error("new privileges are allowed")
	case oci.Linux.Seccomp == nil:
		t.Error("no seccomp profile")
	case len(oci.Linux.MaskedPaths) == 0 || len(oci.Linux.ReadonlyPaths) == 0:
		t.Error("paths are not masked")
	case slices.Contains(oci.Process.Capabilities.Bounding, "CAP_SYS_ADMIN"):
		t.Error("CAP_SYS_ADMIN is left")
	case *oci.Linux.Resources.Pids.Limit != defaultPIDs:
		t.Error("processes are not limited")
	case oci.Linux.Resources.Devices[0].Allow:
		t.Error("devices are not denied first")
	}
}

func TestBadSpecsAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		spec holdfast.Spec
	}{
		{"no command", holdfast.Spec{}},
		{"capability", holdfast.Spec{Process: holdfast.Process{Command: []string{"x"}}, Security: holdfast.Security{CapAdd: []string{"FLY"}}}},
		{"device", holdfast.Spec{Process: holdfast.Process{Command: []string{"x"}}, Security: holdfast.Security{Devices: []holdfast.Device{{Source: "/nowhere"}}}}},
		{"device rule", holdfast.Spec{Process: holdfast.Process{Command: []string{"x"}}, Security: holdfast.Security{DeviceCgroupRule: []string{"c one:two r"}}}},
		{"umask", holdfast.Spec{Process: holdfast.Process{Command: []string{"x"}, Umask: "9"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := ociSpec(&tc.spec, imagespec.ImageConfig{}, "h"); !errors.Is(err, holdfast.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestCapabilities(t *testing.T) {
	got, err := capabilities(holdfast.Security{CapDrop: []string{"ALL"}, CapAdd: []string{"net_bind_service", "CAP_CHOWN"}})
	if err != nil || !slices.Equal(got, []string{"CAP_CHOWN", "CAP_NET_BIND_SERVICE"}) {
		t.Fatalf("got %q, %v", got, err)
	}
}
