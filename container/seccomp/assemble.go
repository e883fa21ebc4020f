package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// assembler builds a program from its end: BPF jumps only forward, so what is jumped to comes first.
type assembler struct {
	code []unix.SockFilter // in reverse
	rets map[uint32]label
}

// label is an instruction's place in assembler.code.
type label int

// near is how far back a label may be to be jumped to directly: the 8-bit offset, less the instructions that jump puts
// between.
const near = 250

func (a *assembler) emit(ins unix.SockFilter) label {
	a.code = append(a.code, ins)
	return label(len(a.code) - 1)
}

func (a *assembler) far(to label) bool { return len(a.code)-int(to) > near }

// ret ends with verdict.
func (a *assembler) ret(verdict uint32) label {
	if a.rets == nil {
		a.rets = map[uint32]label{}
	}
	if l, ok := a.rets[verdict]; ok && !a.far(l) {
		return l
	}
	l := a.emit(unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict})
	a.rets[verdict] = l
	return l
}

// always goes on at to.
func (a *assembler) always(to label) label {
	return a.emit(unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(a.code) - int(to) - 1)})
}

// jump compares the accumulator with k.
func (a *assembler) jump(op uint16, k uint32, yes, no label) label {
	if yes == no {
		return yes
	}
	if a.far(yes) {
		yes = a.always(yes)
	}
	if a.far(no) {
		no = a.always(no)
	}
	at := len(a.code)
	return a.emit(unix.SockFilter{
		Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: uint8(at - int(yes) - 1), Jf: uint8(at - int(no) - 1),
	})
}

// follow makes the next instruction emitted fall through to next.
func (a *assembler) follow(next label) {
	if int(next) != len(a.code)-1 {
		a.always(next)
	}
}

// load loads the word at offset of struct seccomp_data and goes on at next.
func (a *assembler) load(offset uint32, next label) label {
	a.follow(next)
	return a.emit(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

func (a *assembler) and(mask uint32, next label) label {
	if mask == ^uint32(0) {
		return next
	}
	a.follow(next)
	return a.emit(unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask})
}

// search finds the span that the accumulator is in, in a balanced tree. done holds the leaves emitted for it so far.
func (a *assembler) search(spans []span, done map[string]label) label {
	if len(spans) > 1 {
		mid := len(spans) / 2
		right := a.search(spans[mid:], done)
		left := a.search(spans[:mid], done)
		return a.jump(unix.BPF_JGE, spans[mid].first, right, left)
	}
	l := spans[0].leaf
	if len(l.rules) == 0 {
		return a.ret(l.fallback)
	}
	if len(l.rules[0].conds) == 0 {
		return a.ret(l.rules[0].action)
	}
	key := l.key()
	at, ok := done[key]
	if !ok {
		at = a.leaf(l)
		done[key] = at
	}
	return at
}

func (a *assembler) leaf(l leaf) label {
	next := a.ret(l.fallback)
	for _, r := range slices.Backward(l.rules) {
		match := a.ret(r.action)
		for _, c := range slices.Backward(r.conds) {
			match = a.compare(c, match, next)
		}
		next = match
	}
	return next
}

// compare goes on at yes when c holds, else at no. It compares the high half of 64-bit arguments only: narrow made the
// masks of other ABIs 32 bits.
func (a *assembler) compare(c cond, yes, no label) label {
	switch c.op {
	case specs.OpNotEqual:
		return a.equal(c, no, yes)
	case specs.OpGreaterThan:
		return a.order(c, unix.BPF_JGT, yes, no)
	case specs.OpGreaterEqual:
		return a.order(c, unix.BPF_JGE, yes, no)
	case specs.OpLessThan:
		return a.order(c, unix.BPF_JGE, no, yes)
	case specs.OpLessEqual:
		return a.order(c, unix.BPF_JGT, no, yes)
	}
	return a.equal(c, yes, no)
}

func (a *assembler) equal(c cond, yes, no label) label {
	next := yes
	for _, half := range []struct{ offset, mask, value uint32 }{
		{offLow(c.arg), uint32(c.mask), uint32(c.value)},
		{offHigh(c.arg), uint32(c.mask >> 32), uint32(c.value >> 32)},
	} {
		if half.mask != 0 {
			next = a.load(half.offset, a.and(half.mask, a.jump(unix.BPF_JEQ, half.value, next, no)))
		}
	}
	return next
}

func (a *assembler) order(c cond, op uint16, yes, no label) label {
	low := a.load(offLow(c.arg), a.jump(op, uint32(c.value), yes, no))
	if c.mask>>32 == 0 {
		return low
	}
	same := a.jump(unix.BPF_JEQ, uint32(c.value>>32), low, no)
	return a.load(offHigh(c.arg), a.jump(unix.BPF_JGT, uint32(c.value>>32), yes, same))
}

func (a *assembler) program() []unix.SockFilter {
	slices.Reverse(a.code)
	return a.code
}
