package seccomp

import (
	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
)

// Parse reads a profile in Docker's JSON format for a container whose bounding set is caps. ErrInvalid when it is none,
// or when Compile refuses it.
func Parse(text []byte, caps []string) (*specs.LinuxSeccomp, error) {
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
	profile, err := moby.LoadProfile(string(text), spec)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.ErrInvalid, "seccomp profile: %w", err)
	}
	if _, _, err := Compile(profile); err != nil {
		return nil, err
	}
	return profile, nil
}
