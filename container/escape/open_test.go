//go:build linux

package escape

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast/container"
)

// TestAttacksWork makes the attacks in containers that are left open on purpose, so that one that finds nothing elsewhere
// is known to look.
func TestAttacksWork(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	image := newImage(t)
	all := targets(t)[1] // our own, root on the node
	for _, c := range []struct {
		name string
		args func(a *arena) []string
		park container.ParkOptions
		open func(a *arena, s *container.Spec)
	}{
		{"calls", words("calls"), container.ParkOptions{}, func(_ *arena, s *container.Spec) { s.OCI.Linux.Seccomp = nil }},
		{"devices", words("devices", ""), container.ParkOptions{}, func(_ *arena, s *container.Spec) {
			s.OCI.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		}},
		{"processes", words("kill", fmt.Sprint(os.Getpid())), container.ParkOptions{HostPID: true}, nil},
		{"socket", func(a *arena) []string { return []string{"connect", listen(a)} }, container.ParkOptions{HostNet: true}, nil},
		{"mounts", secret("mounts"), container.ParkOptions{}, func(a *arena, s *container.Spec) { bind(a.dir, "/vol")(s) }},
		{"directory", secret("climb"), container.ParkOptions{}, func(a *arena, s *container.Spec) {
			bind(a.dir, "/vol")(s)
			s.OCI.Process.Cwd = "/vol"
		}},
		{"set-user-id", words("suid"), container.ParkOptions{}, func(_ *arena, s *container.Spec) {
			s.OCI.Process.NoNewPrivileges = false
			asUser(s)
		}},
		{"writes", words("writes"), container.ParkOptions{}, func(_ *arena, s *container.Spec) { s.OCI.Linux.ReadonlyPaths = nil }},
		{"masks", words("proc"), container.ParkOptions{}, func(_ *arena, s *container.Spec) { s.OCI.Linux.MaskedPaths = nil }},
		{"handles", words("shocker", "/vol"), container.ParkOptions{}, func(a *arena, s *container.Spec) {
			bind(a.layer(), "/vol")(s)
			s.OCI.Linux.Seccomp = nil
			caps := append([]string{"CAP_DAC_READ_SEARCH"}, container.DefaultCapabilities...)
			s.OCI.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			target := all
			target.park = c.park
			target.park.HostUserNS = true
			a := newArena(t, target, image)
			spec := a.spec(c.args(a))
			if c.open != nil {
				c.open(a, &spec)
			}
			_, err := a.rt.Start(t.Context(), spec)
			a.must(err)
			a.exited(spec.ID)
			if text := a.text(spec.ID); !strings.Contains(text, "ESCAPED") {
				t.Errorf("the attack found nothing in an open container:\n%s", text)
			}
		})
	}
}

func words(args ...string) func(*arena) []string { return func(*arena) []string { return args } }

func secret(command string) func(*arena) []string {
	return func(a *arena) []string { return []string{command, a.secret} }
}

// listen listens on an abstract socket until the test ends.
func listen(a *arena) string {
	name := "@holdfast-escape-" + filepath.Base(filepath.Dir(a.dir))
	l, err := net.Listen("unix", name)
	a.must(err)
	a.Cleanup(func() { l.Close() })
	return name
}

// TestProwlerWorks lets the prowler see the node's processes, whose root directories lead to the secret.
func TestProwlerWorks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	target := targets(t)[1]
	target.park.HostPID = true
	a := newArena(t, target, newImage(t))
	id := a.background([]string{"prowl", a.secret, "only-look"}, func(s *container.Spec) {
		caps := append([]string{"CAP_SYS_PTRACE"}, container.DefaultCapabilities...)
		s.OCI.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	})
	a.must(a.rt.Signal(t.Context(), id, 15))
	a.exited(id)
	if text := a.text(id); !strings.Contains(text, "ESCAPED: read the node's file") {
		t.Errorf("the prowler found nothing:\n%s", text)
	}
}
