package seccomp

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data; all ABIs here are little-endian.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

func offLow(arg uint) uint32  { return uint32(offArgs + 8*arg) }
func offHigh(arg uint) uint32 { return offLow(arg) + 4 }

// span is a range of call numbers, up to the next span's first, that share one list of rules.
type span struct {
	first uint32
	leaf  leaf
}

// leaf is what is decided once the number is known: rules in order, then fallback.
type leaf struct {
	rules    []rule
	fallback uint32
}

func (l leaf) key() string { return fmt.Sprint(l.rules, l.fallback) }

// generate makes the program: find the ABI, then the call by binary search, then compare arguments.
func generate(abis []*abi, set ruleSet) []unix.SockFilter {
	var a assembler
	next := a.ret(unix.SECCOMP_RET_KILL_THREAD)
	for _, audit := range audits(abis) {
		tree := a.search(spansOf(audit, abis, set), map[string]label{})
		tree = a.load(offNumber, tree)
		next = a.jump(unix.BPF_JEQ, audit, tree, next)
	}
	a.load(offArch, next)
	return a.program()
}

// audits lists the different architectures of abis, least likely first.
func audits(abis []*abi) []uint32 {
	var list []uint32
	for _, a := range abis {
		if !slices.Contains(list, a.audit) {
			list = append(list, a.audit)
		}
	}
	slices.Reverse(list)
	return list
}

// spansOf covers all 32-bit numbers for the ABIs that share one architecture.
func spansOf(audit uint32, abis []*abi, set ruleSet) []span {
	fallback := leaf{fallback: set.fallback}
	leaves := map[uint32]leaf{} // where the leaf changes
	has32 := false
	for _, a := range abis {
		if a.audit != audit {
			continue
		}
		has32 = has32 || a == x32
		leaves[a.bit] = fallback
		if unknown, ok := unknownLeaf(set.fallback); ok {
			leaves[a.bit|(a.last+1)] = unknown
		}
		byNumber := a.rules(set)
		for _, nr := range sortedKeys(byNumber) {
			leaves[nr] = leaf{rules: byNumber[nr], fallback: set.fallback}
			if _, ok := byNumber[nr+1]; ok {
				continue
			}
			if after, ok := unknownLeaf(set.fallback); ok && nr&^a.bit >= a.last {
				leaves[nr+1] = after
			} else {
				leaves[nr+1] = fallback
			}
		}
	}
	if audit == unix.AUDIT_ARCH_X86_64 && !has32 {
		leaves[x32Bit] = leaf{fallback: unix.SECCOMP_RET_KILL_THREAD}
	}
	// A tracer skips a call by making its number -1, which must not kill.
	leaves[^uint32(0)] = fallback
	return merge(leaves)
}

// unknownLeaf is the verdict on calls newer than the tables, where it is not the fallback.
func unknownLeaf(fallback uint32) (leaf, bool) {
	nosys := uint32(unix.SECCOMP_RET_ERRNO | unix.ENOSYS)
	return leaf{fallback: nosys}, fallback&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO && fallback != nosys
}

func merge(leaves map[uint32]leaf) []span {
	var spans []span
	for _, first := range sortedKeys(leaves) {
		l := leaves[first]
		if n := len(spans); n > 0 && spans[n-1].leaf.key() == l.key() {
			continue
		}
		spans = append(spans, span{first, l})
	}
	return spans
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
