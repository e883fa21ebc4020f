//go:build linux

// Package slim gives back memory that only the start of a program needed. May import only small packages of the
// standard library.
package slim

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// Down gives back the code and constants that were read so far. A big program of which a process needs a small part has
// touched much of itself when all packages are initialised; what is needed again comes back from the page cache.
func Down() error {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		start, end, ok := parse(line)
		if !ok {
			continue
		}
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, start, end-start, syscall.MADV_DONTNEED); errno != 0 {
			return os.NewSyscallError("madvise", errno)
		}
	}
	return nil
}

// parse reads a line of /proc/self/maps. It is ok for a private mapping of a file that cannot be written to, so that
// nothing is lost when its pages are dropped.
func parse(line string) (start, end uintptr, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || len(f[1]) != 4 || f[1][0] != 'r' || f[1][1] != '-' || f[1][3] != 'p' || f[5][0] != '/' {
		return 0, 0, false
	}
	from, to, _ := strings.Cut(f[0], "-")
	a, err := strconv.ParseUint(from, 16, int(8*unsafe.Sizeof(start)))
	if err != nil {
		return 0, 0, false
	}
	b, err := strconv.ParseUint(to, 16, int(8*unsafe.Sizeof(end)))
	return uintptr(a), uintptr(b), err == nil && a < b
}
