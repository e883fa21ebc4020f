//go:build linux

package initproc

// An Op is one step of a Program: a system call, or one of the Op… numbers below.
//
// Memory that a call reads or writes lies in the program's own image, and pointers are offsets into it: Program.Relocs
// lists every place in the image (arguments of ops included) that holds one. A bit in Regs says that the argument is
// the number of a register instead of a value.
type Op struct {
	NR    uint32
	Flags uint16
	Regs  uint8 // bit i: Args[i] is a register
	Dst   uint8 // register that receives the result; NoReg for none
	Okay  int32 // this errno counts as success, and result 0
	Skip  int32 // on success skip as many ops
	Args  [6]uint64
}

// Flags of an Op.
const (
	// IgnoreError goes on whatever the call returned.
	IgnoreError = 1 << iota
	// Try goes on when the file is not there or may not be executed, and remembers the latter for OpFail.
	Try
	// MinusOne stores ^0 in Dst when the call failed and that was ignored.
	MinusOne
)

// NoReg as Dst throws the result away.
const NoReg = 0xff

// Registers is their number. The first ones hold the descriptors that came with the program: 0 is the program itself.
const Registers = 48

// Op numbers that are not system calls.
const (
	// OpFork clones with Args[0] as clone flags. The parent answers with the child's pid and exits. It is a program's last
	// op: the child waits for the next program, so that its answers come after that one.
	OpFork = 1<<16 + iota
	// OpInit forks; the child goes on, the parent becomes a PID 1 that reaps all, forwards signals to the child, and
	// exits as the child does.
	OpInit
	// OpAnswer answers success with the registers and waits for the next program.
	OpAnswer
	// OpFail fails with the error that Try remembered, else with Args[0].
	OpFail
	// OpByte fails with errno Args[2] unless the byte at Args[0] equals Args[1].
	OpByte
	// OpExit exits with status Args[0].
	OpExit
)

// Header is the message that announces a Program; descriptors come with it, the first being the program's image.
type Header struct {
	Size   uint64 // of the image
	Ops    uint64 // offset of the first Op
	NumOps uint64
	Relocs uint64 // offset of the offsets of pointers
	NumRel uint64
}

// Answer is a child's reply to a program, followed by its registers. A successful execve answers by closing the socket.
type Answer struct {
	Index int32 // of the op that failed
	Errno int32 // 0: success
	PID   int64 // of OpFork's child
}

// MaxFiles is how many descriptors can come with one program.
const MaxFiles = 14

// FirstFree is the lowest descriptor that means nothing to a child: below are its standard streams and its sockets.
const FirstFree = 5
