//go:build linux

// Package slim gives back memory that only the start of a program needed. May import only small packages of the
// standard library.
package slim

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Down gives back the code and constants that were read so far. A big program of which a process needs a small part has
// touched much of itself when all packages are initialised; what is needed again comes back from the page cache.
func Down() error {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	for _, m := range clean(string(smaps)) {
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, syscall.MADV_DONTNEED); errno != 0 {
			return os.NewSyscallError("madvise", errno)
		}
	}
	return nil
}

type mapping struct{ start, end uintptr }

// clean finds, in the text of /proc/self/smaps, the mappings whose pages can be dropped: private ones of a file, that
// cannot be written to and never were. (What a dynamic linker relocates was, before it was protected.)
func clean(smaps string) (list []mapping) {
	var m mapping
	candidate := false
	for line := range strings.Lines(smaps) {
		if next, file, ok := header(line); ok {
			m, candidate = next, file
			continue
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "Anonymous:":
			candidate = candidate && f[1] == "0"
		case "Swap:": // comes later
			if candidate && f[1] == "0" {
				list = append(list, m)
			}
		}
	}
	return list
}

// header reads the first line of a mapping. file: it is a private mapping of a file, read-only.
func header(line string) (m mapping, file, ok bool) {
	f := strings.Fields(line)
	if len(f) < 5 || len(f[1]) != 4 {
		return m, false, false
	}
	from, to, ok := strings.Cut(f[0], "-")
	start, err1 := strconv.ParseUint(from, 16, strconv.IntSize)
	end, err2 := strconv.ParseUint(to, 16, strconv.IntSize)
	if !ok || err1 != nil || err2 != nil || start >= end {
		return m, false, false
	}
	file = len(f) > 5 && f[1][0] == 'r' && f[1][1] == '-' && f[1][3] == 'p' && f[5][0] == '/'
	return mapping{uintptr(start), uintptr(end)}, file, true
}
