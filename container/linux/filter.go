//go:build linux

package linux

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container/seccomp"
)

// compileFilter returns the profile as a program; compiling is cached there.
func compileFilter(profile *specs.LinuxSeccomp) ([]unix.SockFilter, uint, error) {
	return seccomp.Compile(profile)
}
