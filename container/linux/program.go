//go:build linux

package linux

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container/linux/initproc"
)

// program is a list of system calls for a child, with the memory they use. Build it, then send it; a failed step is
// reported by the words given for it.
type program struct {
	image  []byte
	relocs []uint64 // places in image that hold a pointer
	ops    []initproc.Op
	argMem []uint8 // per op: which arguments are pointers
	words  []string
}

// Arguments of a step are plain numbers, mem or reg.
type (
	mem uint64 // an offset in the program's image
	reg uint8  // a register of the child
)

func (p *program) align() {
	for len(p.image)%8 != 0 {
		p.image = append(p.image, 0)
	}
}

// bytes puts b into the image.
func (p *program) bytes(b []byte) mem {
	p.align()
	at := mem(len(p.image))
	p.image = append(p.image, b...)
	return at
}

// space puts n zero bytes into the image.
func (p *program) space(n int) mem { return p.bytes(make([]byte, n)) }

// str puts a C string into the image.
func (p *program) str(s string) mem { return p.bytes(append([]byte(s), 0)) }

// strs puts a null-terminated array of C strings into the image.
func (p *program) strs(list []string) mem {
	at := make([]mem, len(list))
	for i, s := range list {
		at[i] = mem(len(p.image))
		p.image = append(append(p.image, s...), 0)
	}
	p.align()
	array := mem(len(p.image))
	for _, a := range at {
		p.relocs = append(p.relocs, uint64(len(p.image)))
		p.image = binary.NativeEndian.AppendUint64(p.image, uint64(a))
	}
	p.image = binary.NativeEndian.AppendUint64(p.image, 0)
	return array
}

// pointer puts a pointer to at into the image, at the place given.
func (p *program) pointer(place mem, at mem) {
	binary.NativeEndian.PutUint64(p.image[place:], uint64(at))
	p.relocs = append(p.relocs, uint64(place))
}

// do adds the step nr and returns it, for its flags to be set. words say what it does: "set user 33".
func (p *program) do(words string, nr uint32, args ...any) *initproc.Op {
	op := initproc.Op{NR: nr, Dst: initproc.NoReg}
	var pointers uint8
	for i, arg := range args {
		switch v := arg.(type) {
		case int:
			op.Args[i] = uint64(v)
		case uint32:
			op.Args[i] = uint64(v)
		case uint64:
			op.Args[i] = v
		case mem:
			op.Args[i] = uint64(v)
			pointers |= 1 << i
		case reg:
			op.Args[i] = uint64(v)
			op.Regs |= 1 << i
		default:
			panic(fmt.Sprintf("program argument %T", arg))
		}
	}
	p.ops = append(p.ops, op)
	p.argMem = append(p.argMem, pointers)
	p.words = append(p.words, words)
	return &p.ops[len(p.ops)-1]
}

// layout returns the finished image and its header.
func (p *program) layout() ([]byte, initproc.Header) {
	p.align()
	opsAt := uint64(len(p.image))
	const opSize = uint64(unsafe.Sizeof(initproc.Op{}))
	const argsAt = uint64(unsafe.Offsetof(initproc.Op{}.Args))
	relocs := p.relocs
	for i, pointers := range p.argMem {
		for a := range uint64(6) {
			if pointers&(1<<a) != 0 {
				relocs = append(relocs, opsAt+uint64(i)*opSize+argsAt+8*a)
			}
		}
	}
	ops := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(p.ops))), len(p.ops)*int(opSize))
	image := append(bytes.Clone(p.image), ops...)
	relocsAt := uint64(len(image))
	for _, r := range relocs {
		image = binary.NativeEndian.AppendUint64(image, r)
	}
	return image, initproc.Header{
		Size: uint64(len(image)), Ops: opsAt, NumOps: uint64(len(p.ops)), Relocs: relocsAt, NumRel: uint64(len(relocs)),
	}
}

// send hands the program to the child at the other end of ctl, with files as its registers 1, 2, ….
func (p *program) send(ctl int, files ...int) error {
	image, header := p.layout()
	fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("create program: %w", err)
	}
	defer unix.Close(fd)
	for off := 0; off < len(image); {
		n, err := unix.Write(fd, image[off:])
		if err != nil {
			return fmt.Errorf("write program: %w", err)
		}
		off += n
	}
	msg := unsafe.Slice((*byte)(unsafe.Pointer(&header)), unsafe.Sizeof(header))
	rights := unix.UnixRights(append([]int{fd}, files...)...)
	if err := unix.Sendmsg(ctl, msg, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("send program: %w", err)
	}
	return nil
}

// result is what a child answered: gone is true when it closed the socket, by execve or by its death.
type result struct {
	gone      bool
	pid       int
	registers [initproc.Registers]int64
}

// receive waits for the child's answer to p.
func (p *program) receive(ctl int) (result, error) {
	var wire struct {
		initproc.Answer
		regs [initproc.Registers]int64
	}
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&wire)), unsafe.Sizeof(wire))
	for {
		n, err := unix.Read(ctl, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECONNRESET || err == nil && n == 0:
			return result{gone: true}, nil
		case err != nil:
			return result{}, fmt.Errorf("read answer: %w", err)
		case n != len(buf):
			return result{}, fmt.Errorf("read answer: %d bytes", n)
		}
		break
	}
	if wire.Errno != 0 {
		return result{}, os.NewSyscallError(p.words[wire.Index], syscall.Errno(wire.Errno))
	}
	return result{pid: int(wire.PID), registers: wire.regs}, nil
}

// run sends p and waits for its answer.
func (p *program) run(ctl int, files ...int) (result, error) {
	if err := p.send(ctl, files...); err != nil {
		return result{}, err
	}
	return p.receive(ctl)
}
