//go:build linux

// Package initproc is what runs in a container before its program does. It has two parts.
//
// The zygote is this same binary, executed once per runtime from a copy of itself that nobody can write to, under the
// name Name. It does nothing but clone children, which become children of its own parent (CLONE_PARENT).
//
// A child never returns to Go's scheduler: it reads a Program (a list of system calls, decided and laid out by package
// linux), performs it, answers, and waits for the next one, until a program ends in execve. That costs no second
// start of the Go runtime, and a waiting child shares nearly all its memory with the zygote.
//
// The package's init function is the one exception to the rule that nothing here happens in init: a hook in a leaf
// package runs before the other packages of a big binary are initialised, which keeps the zygote small, and it works in
// every binary, test binaries included, without a call in main.
//
// May import only small packages of the standard library.
package initproc
