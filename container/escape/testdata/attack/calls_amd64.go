package main

import "golang.org/x/sys/unix"

// archCalls are those that only this architecture has.
func archCalls(p uintptr) {
	for name, nr := range map[string]uintptr{"iopl": unix.SYS_IOPL, "ioperm": unix.SYS_IOPERM, "lookup_dcookie": unix.SYS_LOOKUP_DCOOKIE} {
		if _, _, errno := unix.RawSyscall(nr, 3, 1, p&1); errno == 0 {
			escaped("%s", name)
		}
	}
}
