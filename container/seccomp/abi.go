package seccomp

import (
	"bufio"
	_ "embed"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// abi is one way to make system calls.
type abi struct {
	arch   specs.Arch
	audit  uint32 // AUDIT_ARCH_*, what the kernel tells the filter
	bit    uint32 // set in all its numbers
	wide   bool   // arguments are 64 bits
	column int    // in syscalls.txt
	last   uint32 // highest number of the common table, without bit
	muxed  bool   // has socketcall and ipc
}

const x32Bit = 0x40000000

var (
	x8664 = &abi{arch: specs.ArchX86_64, audit: unix.AUDIT_ARCH_X86_64, wide: true, column: 1, last: 471}
	x86   = &abi{arch: specs.ArchX86, audit: unix.AUDIT_ARCH_I386, column: 2, last: 471, muxed: true}
	x32   = &abi{arch: specs.ArchX32, audit: unix.AUDIT_ARCH_X86_64, bit: x32Bit, column: 3, last: 547}
	arm64 = &abi{arch: specs.ArchAARCH64, audit: unix.AUDIT_ARCH_AARCH64, wide: true, column: 4, last: 471}
	arm   = &abi{arch: specs.ArchARM, audit: unix.AUDIT_ARCH_ARM, column: 5, last: 471}
)

// families are the ABIs that one machine can run, its own first.
var families = map[string][]*abi{
	"amd64": {x8664, x86, x32},
	"arm64": {arm64, arm},
}

// foreign are architectures that none of our machines runs: a profile may name them to no effect.
var foreign = []specs.Arch{
	specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
	specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X, specs.ArchPARISC,
	specs.ArchPARISC64, specs.ArchRISCV64, specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
}

// abisOf returns the machine's own ABI and those of wanted that it can run.
func abisOf(wanted []specs.Arch, goarch string) ([]*abi, error) {
	family, ok := families[goarch]
	if !ok {
		return nil, holdfast.Errorf(holdfast.ErrUnsupported, "seccomp filters for %s are not supported", goarch)
	}
	for _, w := range wanted {
		known := slices.Contains(foreign, w)
		for _, f := range families {
			known = known || slices.ContainsFunc(f, func(a *abi) bool { return a.arch == w })
		}
		if !known {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "unknown seccomp architecture %q", w)
		}
	}
	abis := []*abi{family[0]}
	for _, a := range family[1:] {
		if slices.Contains(wanted, a.arch) {
			abis = append(abis, a)
		}
	}
	return abis, nil
}

//go:generate sh gen.sh

//go:embed syscalls.txt
var syscallsText string

// numbers maps a call's name to its number per column; -1 where it has none.
var numbers = sync.OnceValue(func() map[string][]int64 {
	byName := map[string][]int64{}
	lines := bufio.NewScanner(strings.NewReader(syscallsText))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		row := make([]int64, len(fields))
		for i, f := range fields[1:] {
			row[i+1] = -1
			if f != "-" {
				row[i+1], _ = strconv.ParseInt(f, 10, 32)
			}
		}
		byName[fields[0]] = row
	}
	return byName
})

// number returns the call's number in a.
func (a *abi) number(name string) (uint32, bool) {
	row, ok := numbers()[name]
	if !ok || row[a.column] < 0 {
		return 0, false
	}
	return uint32(row[a.column]) | a.bit, true
}

// subcalls are what x86's socketcall (net.h) and ipc (ipc.h) do by their first argument.
var subcalls = map[string]struct {
	by    string
	value uint64
}{
	"socket": {"socketcall", 1}, "bind": {"socketcall", 2}, "connect": {"socketcall", 3}, "listen": {"socketcall", 4},
	"accept": {"socketcall", 5}, "getsockname": {"socketcall", 6}, "getpeername": {"socketcall", 7},
	"socketpair": {"socketcall", 8}, "send": {"socketcall", 9}, "recv": {"socketcall", 10}, "sendto": {"socketcall", 11},
	"recvfrom": {"socketcall", 12}, "shutdown": {"socketcall", 13}, "setsockopt": {"socketcall", 14},
	"getsockopt": {"socketcall", 15}, "sendmsg": {"socketcall", 16}, "recvmsg": {"socketcall", 17},
	"accept4": {"socketcall", 18}, "recvmmsg": {"socketcall", 19}, "sendmmsg": {"socketcall", 20},
	"semop": {"ipc", 1}, "semget": {"ipc", 2}, "semctl": {"ipc", 3}, "semtimedop": {"ipc", 4},
	"msgsnd": {"ipc", 11}, "msgrcv": {"ipc", 12}, "msgget": {"ipc", 13}, "msgctl": {"ipc", 14},
	"shmat": {"ipc", 21}, "shmdt": {"ipc", 22}, "shmget": {"ipc", 23}, "shmctl": {"ipc", 24},
}

// rules returns set's rules by call number in a, in the order of trial.
func (a *abi) rules(set ruleSet) map[uint32][]rule {
	byNumber := map[uint32][]rule{}
	for _, name := range sortedKeys(set.calls) {
		if nr, ok := a.number(name); ok {
			byNumber[nr] = append(byNumber[nr], a.narrowed(set.calls[name])...)
		}
	}
	if a.muxed {
		a.addSubcalls(byNumber, set)
	}
	for nr, rules := range byNumber {
		byNumber[nr] = decide(rules)
	}
	return byNumber
}

func (a *abi) narrowed(rules []rule) []rule {
	out := make([]rule, len(rules))
	for i, r := range rules {
		out[i] = rule{conds: narrow(r.conds, a.wide), action: r.action}
	}
	return out
}

// addSubcalls adds set's rules for socket and IPC calls to those of socketcall and ipc. What a rule says of the first
// argument is lost there: it is in memory, which a filter cannot read.
func (a *abi) addSubcalls(byNumber map[uint32][]rule, set ruleSet) {
	for _, name := range sortedKeys(set.calls) {
		sub, ok := subcalls[name]
		if !ok {
			continue
		}
		nr, _ := a.number(sub.by)
		for _, r := range a.narrowed(set.calls[name]) {
			conds := []cond{{arg: 0, op: specs.OpEqualTo, mask: 0xffffffff, value: sub.value}}
			for _, c := range r.conds {
				if c.arg != 0 {
					conds = append(conds, c)
				}
			}
			byNumber[nr] = append(byNumber[nr], rule{conds: conds, action: r.action})
		}
	}
}
