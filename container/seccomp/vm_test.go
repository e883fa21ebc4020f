package seccomp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// data is struct seccomp_data.
type data struct {
	nr, arch uint32
	args     [maxArgs]uint64
}

func (d data) String() string {
	return fmt.Sprintf("call %#x (%d) arch %#x args %#x", d.nr, d.nr, d.arch, d.args)
}

func (d data) word(off uint32) uint32 {
	switch {
	case off == offNumber:
		return d.nr
	case off == offArch:
		return d.arch
	case off >= offArgs && off < offArgs+8*maxArgs && off%4 == 0:
		i := (off - offArgs) / 8
		return uint32(d.args[i] >> (8 * (off % 8)))
	}
	panic(fmt.Sprintf("load at %d", off))
}

// run interprets a classic BPF program as the kernel does.
func run(code []unix.SockFilter, d data) uint32 {
	var acc uint32
	for pc := 0; ; pc++ {
		ins := code[pc]
		switch ins.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = d.word(ins.K)
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= ins.K
		case unix.BPF_RET | unix.BPF_K:
			return ins.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(ins.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			pc += skip(acc == ins.K, ins)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			pc += skip(acc > ins.K, ins)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			pc += skip(acc >= ins.K, ins)
		default:
			panic(fmt.Sprintf("instruction %#v", ins))
		}
	}
}

func skip(yes bool, ins unix.SockFilter) int {
	if yes {
		return int(ins.Jt)
	}
	return int(ins.Jf)
}
