// Package instant is the smallest program that can tell when it started, for benchmarks of starting containers. It may
// import only the standard library.
package instant

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"time"
)

// code reads the monotonic clock, prints the 16 bytes of its struct timespec in hexadecimal with the digits a to p,
// and exits:
//
//	sub rsp,64; mov edi,1; mov rsi,rsp; mov eax,228; syscall         clock_gettime(CLOCK_MONOTONIC, rsp)
//	lea rsi,[rsp+16]; mov rdi,rsp; mov ecx,16
//	1: movzx eax,byte ptr [rdi]; mov edx,eax; shr edx,4; and eax,15; add edx,97; add eax,97
//	mov [rsi],dl; mov [rsi+1],al; add rsi,2; inc rdi; dec ecx; jnz 1b
//	mov byte ptr [rsi],10; mov edi,1; lea rsi,[rsp+16]; mov edx,33; mov eax,1; syscall   write(1, rsp+16, 33)
//	mov eax,60; xor edi,edi; syscall                                 exit(0)
var code = []byte{
	0x48, 0x83, 0xec, 0x40, 0xbf, 0x01, 0x00, 0x00, 0x00, 0x48, 0x89, 0xe6, 0xb8, 0xe4, 0x00, 0x00,
	0x00, 0x0f, 0x05, 0x48, 0x8d, 0x74, 0x24, 0x10, 0x48, 0x89, 0xe7, 0xb9, 0x10, 0x00, 0x00, 0x00,
	0x0f, 0xb6, 0x07, 0x89, 0xc2, 0xc1, 0xea, 0x04, 0x83, 0xe0, 0x0f, 0x83, 0xc2, 0x61, 0x83, 0xc0,
	0x61, 0x88, 0x16, 0x88, 0x46, 0x01, 0x48, 0x83, 0xc6, 0x02, 0x48, 0xff, 0xc7, 0xff, 0xc9, 0x75,
	0xdf, 0xc6, 0x06, 0x0a, 0xbf, 0x01, 0x00, 0x00, 0x00, 0x48, 0x8d, 0x74, 0x24, 0x10, 0xba, 0x21,
	0x00, 0x00, 0x00, 0xb8, 0x01, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xb8, 0x3c, 0x00, 0x00, 0x00, 0x31,
	0xff, 0x0f, 0x05,
}

// Program returns a static ELF executable for amd64 without any library.
func Program() []byte {
	const base = 0x400000
	const headers = 64 + 56
	var b bytes.Buffer
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Entry: base + headers,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	size := uint64(headers + len(code))
	segment := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x1000,
	}
	for _, part := range []any{header, segment, code} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err) // fixed sizes into memory
		}
	}
	return b.Bytes()
}

// Len is the length of what the program prints, without the newline.
const Len = 32

// Parse returns the clock that the program printed.
func Parse(text string) time.Duration {
	raw := make([]byte, Len/2)
	for i := range raw {
		raw[i] = (text[2*i]-'a')<<4 | (text[2*i+1] - 'a')
	}
	seconds, nanos := binary.LittleEndian.Uint64(raw), binary.LittleEndian.Uint64(raw[8:])
	return time.Duration(seconds)*time.Second + time.Duration(nanos)
}
