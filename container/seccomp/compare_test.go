package seccomp

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestSameVerdicts runs our program and libseccomp's for every call and around every comparison.
func TestSameVerdicts(t *testing.T) {
	for name, profile := range profiles(t) {
		for goarch := range families {
			t.Run(name+"/"+goarch, func(t *testing.T) { compareVerdicts(t, profile, goarch) })
		}
	}
}

func compareVerdicts(t *testing.T, profile *specs.LinuxSeccomp, goarch string) {
	theirs, unknown, err := referenceFilter(t, profile, goarch)
	if err != nil {
		t.Fatal(err)
	}
	// Calls newer than the installed libseccomp are TestNewCalls's.
	profile = without(profile, unknown)
	ours, err := compile(profile, goarch)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d instructions, libseccomp %d", len(ours.filter), len(theirs))
	checked, bad := 0, 0
	for d := range vectors(t, profile, goarch) {
		got, want := run(ours.filter, d), run(theirs, d)
		checked++
		if got != want && !newerThanTables(profile, d, got) {
			if bad++; bad < 20 {
				t.Errorf("%v: ours %#x, libseccomp %#x", d, got, want)
			}
		}
	}
	t.Logf("%d verdicts compared", checked)
}

// newerThanTables is the one difference that Compile's comment tells of.
func newerThanTables(profile *specs.LinuxSeccomp, d data, got uint32) bool {
	if profile.DefaultAction != specs.ActErrno || got != unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS) {
		return false
	}
	if d.arch == unix.AUDIT_ARCH_X86_64 && d.nr&x32Bit != 0 {
		return d.nr&^x32Bit > x32.last
	}
	return d.nr > x8664.last
}

func without(profile *specs.LinuxSeccomp, names []string) *specs.LinuxSeccomp {
	cut := *profile
	cut.Syscalls = nil
	for _, call := range profile.Syscalls {
		call.Names = slices.DeleteFunc(slices.Clone(call.Names), func(n string) bool { return slices.Contains(names, n) })
		cut.Syscalls = append(cut.Syscalls, call)
	}
	return &cut
}

// vectors yields every call number of every architecture with arguments around what the profile compares with.
func vectors(t *testing.T, profile *specs.LinuxSeccomp, goarch string) func(func(data) bool) {
	random := rand.New(rand.NewPCG(1, 2))
	values := interesting(profile)
	compared := comparedNumbers(t, profile, goarch)
	return func(yield func(data) bool) {
		for _, arch := range []uint32{
			unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_MIPS, 0,
		} {
			for _, nr := range callNumbers() {
				n := 3
				if compared[[2]uint32{arch, nr}] {
					n = 1500
				}
				for range n {
					d := data{nr: nr, arch: arch}
					for i := range d.args {
						d.args[i] = values[random.IntN(len(values))]
					}
					if !yield(d) {
						return
					}
				}
			}
		}
	}
}

func callNumbers() []uint32 {
	var list []uint32
	for nr := range uint32(601) {
		list = append(list, nr, nr|x32Bit)
	}
	for nr := uint32(983030); nr < 983060; nr++ { // arm's own
		list = append(list, nr)
	}
	return append(list, x32Bit-1, 0x7fffffff, 0x80000000, 0xc0000000, 0xfffffffe, 0xffffffff)
}

// interesting returns the neighbours of all values that profile compares with, in both halves.
func interesting(profile *specs.LinuxSeccomp) []uint64 {
	list := []uint64{0, 1, ^uint64(0), 0xffffffff, 1 << 32, 1 << 31}
	for i := range uint64(26) { // sub-calls
		list = append(list, i)
	}
	for _, call := range profile.Syscalls {
		for _, a := range call.Args {
			for _, v := range []uint64{a.Value, a.ValueTwo, a.Value ^ a.ValueTwo, ^a.Value | a.ValueTwo} {
				list = append(list, v, v-1, v+1, v^1<<32, v+1<<32, v-1<<32, v&0xffffffff, v<<32, ^v)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func comparedNumbers(t *testing.T, profile *specs.LinuxSeccomp, goarch string) map[[2]uint32]bool {
	abis, err := abisOf(profile.Architectures, goarch)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rulesOf(profile)
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[[2]uint32]bool{}
	for _, a := range abis {
		for nr, rules := range a.rules(set) {
			if len(rules[0].conds) > 0 {
				numbers[[2]uint32{a.audit, nr}] = true
			}
		}
	}
	return numbers
}
