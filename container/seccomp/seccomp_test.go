package seccomp

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"runtime"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

const nosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

// TestNewCalls covers what libseccomp may be too old to be compared on.
func TestNewCalls(t *testing.T) {
	profile, err := Default(nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := compile(profile, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{
		"cachestat": unix.SECCOMP_RET_ALLOW, "fchmodat2": unix.SECCOMP_RET_ALLOW, "mseal": unix.SECCOMP_RET_ALLOW,
		"statmount": unix.SECCOMP_RET_ALLOW, "lsm_list_modules": unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM),
		"open_tree_attr": unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), "clone3": nosys,
	} {
		nr, ok := x8664.number(name)
		if got := run(p.filter, data{nr: nr, arch: x8664.audit}); !ok || got != want {
			t.Errorf("%s (%d, %v): %#x, want %#x", name, nr, ok, got, want)
		}
	}
	for _, nr := range []uint32{x8664.last + 1, 1000, x32Bit - 1, x32Bit | 548, 0x7fffffff} {
		if got := run(p.filter, data{nr: nr, arch: x8664.audit}); got != nosys {
			t.Errorf("unknown call %#x: %#x", nr, got)
		}
	}
}

// TestStrictestWins is our answer where libseccomp's depends on how its tree grew.
func TestStrictestWins(t *testing.T) {
	rule := func(action specs.LinuxSeccompAction, arg specs.LinuxSeccompArg) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: []string{"ioctl"}, Action: action, Args: []specs.LinuxSeccompArg{arg}}
	}
	p, err := compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
		rule(specs.ActAllow, arg(0, specs.OpLessThan, 100, 0)), rule(specs.ActTrap, arg(0, specs.OpEqualTo, 5, 0)),
		rule(specs.ActKillProcess, arg(1, specs.OpEqualTo, 1, 0)), rule(specs.ActLog, arg(0, specs.OpEqualTo, 100, 0)),
	}}, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	for args, want := range map[[2]uint64]uint32{
		{4, 0}: unix.SECCOMP_RET_ALLOW, {5, 0}: unix.SECCOMP_RET_TRAP, {5, 1}: unix.SECCOMP_RET_KILL_PROCESS,
		{100, 0}: unix.SECCOMP_RET_LOG, {101, 0}: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), {4, 1}: unix.SECCOMP_RET_KILL_PROCESS,
	} {
		d := data{nr: unix.SYS_IOCTL, arch: unix.AUDIT_ARCH_X86_64}
		d.nr, _ = x8664.number("ioctl")
		copy(d.args[:], args[:])
		if got := run(p.filter, d); got != want {
			t.Errorf("%v: %#x, want %#x", args, got, want)
		}
	}
}

func TestInvalid(t *testing.T) {
	big := uint(5000)
	for name, c := range map[string]struct {
		profile specs.LinuxSeccomp
		kind    error
	}{
		"no action":      {specs.LinuxSeccomp{}, holdfast.ErrInvalid},
		"unknown action": {specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_PLEASE"}, holdfast.ErrInvalid},
		"big errno":      {specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &big}, holdfast.ErrInvalid},
		"architecture":   {specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_VAX"}}, holdfast.ErrInvalid},
		"flag":           {specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"X"}}, holdfast.ErrInvalid},
		"rule action":    {withRule(specs.LinuxSyscall{Names: []string{"read"}, Action: "X"}), holdfast.ErrInvalid},
		"empty name":     {withRule(specs.LinuxSyscall{Names: []string{""}, Action: specs.ActTrap}), holdfast.ErrInvalid},
		"seventh arg":    {withRule(compare("read", arg(6, specs.OpEqualTo, 0, 0))), holdfast.ErrInvalid},
		"operator":       {withRule(compare("read", arg(0, "SCMP_CMP_LIKE", 0, 0))), holdfast.ErrInvalid},
		"notify":         {withRule(deny(specs.ActNotify, 0, "read")), holdfast.ErrUnsupported},
		"listener":       {specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/x"}, holdfast.ErrUnsupported},
		"wait killable": {specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv},
		}, holdfast.ErrUnsupported},
	} {
		if _, _, err := Compile(&c.profile); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
}

func withRule(call specs.LinuxSyscall) specs.LinuxSeccomp {
	return specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{call}}
}

func TestCompileTwice(t *testing.T) {
	if filter, flags, err := Compile(nil); filter != nil || flags != 0 || err != nil {
		t.Errorf("no profile: %v %v %v", filter, flags, err)
	}
	profile, err := Default([]string{"CAP_CHOWN"})
	if err != nil {
		t.Fatal(err)
	}
	profile.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}
	first, flags, err := Compile(profile)
	if err != nil || flags != unix.SECCOMP_FILTER_FLAG_LOG {
		t.Fatal(flags, err)
	}
	again, _, err := Compile(profile)
	if err != nil || &first[0] != &again[0] {
		t.Error("the second compilation was not cached", err)
	}
	fresh, err := compile(profile, runtime.GOARCH)
	if err != nil || !reflect.DeepEqual(fresh.filter, first) {
		t.Error("two compilations differ", err)
	}
}

// TestKernelTakesIt loads the default filter on a thread of its own, which ends with the test.
func TestKernelTakesIt(t *testing.T) {
	profile, err := Default(nil)
	if err != nil {
		t.Fatal(err)
	}
	filter, flags, err := Compile(profile)
	if err != nil {
		t.Fatal(err)
	}
	type result struct{ load, mount, pid error }
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		var r result
		fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if r.load = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); r.load == nil {
			if _, _, no := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&fprog))); no != 0 {
				r.load = no
			}
		}
		r.mount = unix.Mount("none", "/does-not-exist", "tmpfs", 0, "")
		_, r.pid = os.Readlink("/proc/self")
		done <- r
	}()
	r := <-done
	if r.load != nil || r.pid != nil || !errors.Is(r.mount, unix.EPERM) {
		t.Errorf("load: %v, mount: %v, readlink: %v", r.load, r.mount, r.pid)
	}
}

// FuzzCompile gives any JSON as a profile: what compiles must be a program that ends with a verdict on every input.
func FuzzCompile(f *testing.F) {
	profile, err := Default(nil)
	if err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(profile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, uint32(0), uint64(0))
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X32","SCMP_ARCH_X86"],"syscalls":[{"names":["socket"],
		"action":"SCMP_ACT_ERRNO","errnoRet":97,"args":[{"index":0,"value":16,"valueTwo":3,"op":"SCMP_CMP_MASKED_EQ"}]}]}`), uint32(41), uint64(16))
	f.Fuzz(func(t *testing.T, text []byte, nr uint32, value uint64) {
		var profile specs.LinuxSeccomp
		if json.Unmarshal(text, &profile) != nil {
			return
		}
		for goarch, abis := range families {
			p, err := compile(&profile, goarch)
			if err != nil {
				if holdfast.KindOf(err) == nil {
					t.Errorf("error of no kind: %v", err)
				}
				continue
			}
			for _, a := range abis {
				run(p.filter, data{nr: nr | a.bit, arch: a.audit, args: [maxArgs]uint64{value, value, value, value, value, value}})
			}
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	profile, err := Default(nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := compile(profile, runtime.GOARCH); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCached(b *testing.B) {
	profile, err := Default(nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := Compile(profile); err != nil {
			b.Fatal(err)
		}
	}
}
