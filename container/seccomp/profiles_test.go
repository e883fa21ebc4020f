package seccomp

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

var allArches = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM}

func profiles(t *testing.T) map[string]*specs.LinuxSeccomp {
	set := map[string]*specs.LinuxSeccomp{
		"unconfined":       {DefaultAction: specs.ActAllow},
		"deny-all":         {DefaultAction: specs.ActErrno, Architectures: allArches},
		"kill-native-only": {DefaultAction: specs.ActKillProcess, Syscalls: []specs.LinuxSyscall{allow("read", "write", "exit_group", "socket", "shmat")}},
		"denylist": {DefaultAction: specs.ActAllow, Architectures: allArches, Syscalls: []specs.LinuxSyscall{
			deny(specs.ActErrno, 1, "mount", "umount2", "ptrace"), deny(specs.ActKill, 0, "kexec_load"), deny(specs.ActTrap, 0, "bpf"),
			deny(specs.ActTrace, 7, "keyctl"), deny(specs.ActLog, 0, "semop", "accept"), deny(specs.ActKillProcess, 0, "reboot"),
			deny(specs.ActAllow, 0, "read"), deny(specs.ActErrno, 38, "clone3", "no_such_call"),
		}},
		"first-plain-rule-wins": {DefaultAction: specs.ActErrno, Architectures: allArches, Syscalls: []specs.LinuxSyscall{
			compare("open", arg(1, specs.OpEqualTo, 7, 0)), deny(specs.ActTrap, 0, "open"), allow("open"),
			allow("close"), deny(specs.ActTrap, 0, "close"), compare("close", arg(0, specs.OpEqualTo, 7, 0)),
		}},
		"one-argument-twice": {DefaultAction: specs.ActErrno, Architectures: allArches, Syscalls: []specs.LinuxSyscall{
			compare("ioctl", arg(1, specs.OpEqualTo, 0x5401, 0), arg(1, specs.OpEqualTo, 0x5402, 0), arg(2, specs.OpEqualTo, 9, 0)),
		}},
		"and-of-arguments": {DefaultAction: specs.ActErrno, Architectures: allArches, Syscalls: []specs.LinuxSyscall{
			compare("ioctl", arg(0, specs.OpEqualTo, 3, 0), arg(1, specs.OpNotEqual, 0x5402, 0), arg(2, specs.OpGreaterThan, 9, 0), arg(5, specs.OpLessEqual, 1<<33, 0)),
			compare("socket", arg(1, specs.OpEqualTo, 1, 0), arg(0, specs.OpEqualTo, 2, 0)),
			compare("shmat", arg(2, specs.OpMaskedEqual, 0xf000, 0x1000)),
		}},
	}
	for op := range referenceOps {
		for i, v := range []uint64{0, 1, 40, 0xffffffff, 1 << 32, 1<<32 + 5, 1 << 63, ^uint64(0)} {
			set[string(op)+string(rune('a'+i))] = &specs.LinuxSeccomp{
				DefaultAction: specs.ActErrno, Architectures: allArches,
				Syscalls: []specs.LinuxSyscall{compare("ioctl", arg(uint(i%maxArgs), op, v, 5<<32|5))},
			}
		}
	}
	for name, caps := range map[string][]string{
		"default-none":   nil,
		"default-docker": {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"},
		"default-admin":  {"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYS_TIME", "CAP_SYSLOG"},
	} {
		profile, err := Default(caps)
		if err != nil {
			t.Fatal(err)
		}
		profile.Architectures = allArches
		set[name] = profile
	}
	return set
}

func allow(names ...string) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: names, Action: specs.ActAllow}
}

func deny(action specs.LinuxSeccompAction, errno uint, names ...string) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: names, Action: action, ErrnoRet: &errno}
}

func compare(name string, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: args}
}

func arg(index uint, op specs.LinuxSeccompOperator, value, two uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Op: op, Value: value, ValueTwo: two}
}
