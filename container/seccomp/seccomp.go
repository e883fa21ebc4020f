// Package seccomp compiles OCI seccomp profiles into the BPF programs that seccomp(2) loads.
//
// It does what runc does with libseccomp, without it: the test suite compares the verdicts of both for every system
// call. May import only the root package and libraries.
package seccomp

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// Default returns the default profile, moby's, for a container whose bounding set is caps ("CAP_CHOWN", …). It depends
// on the running kernel's version and architecture.
func Default(caps []string) (*specs.LinuxSeccomp, error) {
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
	profile, err := moby.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("make default seccomp profile: %w", err)
	}
	return profile, nil
}

// program is a compiled profile.
type program struct {
	filter []unix.SockFilter
	flags  uint
}

// cached holds compiled profiles by the digest of their JSON. It is emptied when full: a node runs few profiles.
var cached = struct {
	sync.Mutex
	programs map[[sha256.Size]byte]program
}{programs: map[[sha256.Size]byte]program{}}

const cacheSize = 64

// Compile returns profile as a BPF program and the flags for seccomp(SECCOMP_SET_MODE_FILTER). A nil profile gives an
// empty filter: install none. The caller must not change the filter, which is shared by all callers of one profile.
//
// Semantics are runc's and libseccomp's:
//   - calls that an architecture does not have, and names nobody knows, are left out;
//   - the arguments of one rule must all match, unless it names one argument twice: then any may match;
//   - a rule without arguments beats all rules with arguments for the same call; the first such rule counts;
//   - of several matching rules with arguments the strictest action counts, in the order of seccomp(2);
//   - a rule whose action is the default one is left out;
//   - 32-bit ABIs (x86, x32, arm) compare the low halves of arguments; on x86 a rule for a socket or System V IPC call
//     also rules the sub-call of socketcall or ipc;
//   - calls of other architectures, and x32's where the profile lacks it, kill the thread.
//
// Unlike libseccomp, and like runc, calls that are newer than the tables here fail with ENOSYS and not with the errno of
// a default SCMP_ACT_ERRNO, so that programs fall back to older calls.
//
// It returns ErrInvalid for a profile that means nothing, ErrUnsupported for SCMP_ACT_NOTIFY.
func Compile(profile *specs.LinuxSeccomp) (filter []unix.SockFilter, flags uint, err error) {
	if profile == nil {
		return nil, 0, nil
	}
	text, err := json.Marshal(profile)
	if err != nil {
		return nil, 0, fmt.Errorf("encode seccomp profile: %w", err)
	}
	digest := sha256.Sum256(text)
	cached.Lock()
	p, ok := cached.programs[digest]
	cached.Unlock()
	if ok {
		return p.filter, p.flags, nil
	}
	if p, err = compile(profile, runtime.GOARCH); err != nil {
		return nil, 0, fmt.Errorf("compile seccomp profile: %w", err)
	}
	cached.Lock()
	defer cached.Unlock()
	if len(cached.programs) >= cacheSize {
		clear(cached.programs)
	}
	cached.programs[digest] = p
	return p.filter, p.flags, nil
}

// maxInstructions is the kernel's BPF_MAXINSNS.
const maxInstructions = 4096

// compile is Compile for the machine goarch, not cached.
func compile(profile *specs.LinuxSeccomp, goarch string) (program, error) {
	abis, err := abisOf(profile.Architectures, goarch)
	if err != nil {
		return program{}, err
	}
	flags, err := flagsOf(profile)
	if err != nil {
		return program{}, err
	}
	rules, err := rulesOf(profile)
	if err != nil {
		return program{}, err
	}
	filter := generate(abis, rules)
	if len(filter) > maxInstructions {
		return program{}, holdfast.Errorf(holdfast.ErrInvalid,
			"the profile needs %d BPF instructions, the kernel takes %d", len(filter), maxInstructions)
	}
	return program{filter: filter, flags: flags}, nil
}

func flagsOf(profile *specs.LinuxSeccomp) (uint, error) {
	if profile.ListenerPath != "" || profile.ListenerMetadata != "" {
		return 0, holdfast.Errorf(holdfast.ErrUnsupported, "seccomp listeners are not supported")
	}
	var flags uint
	for _, f := range profile.Flags {
		switch f {
		case "SECCOMP_FILTER_FLAG_TSYNC":
			flags |= unix.SECCOMP_FILTER_FLAG_TSYNC
		case specs.LinuxSeccompFlagLog:
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			return 0, holdfast.Errorf(holdfast.ErrUnsupported, "seccomp flag %s needs a listener", f)
		default:
			return 0, holdfast.Errorf(holdfast.ErrInvalid, "unknown seccomp flag %q", f)
		}
	}
	return flags, nil
}
