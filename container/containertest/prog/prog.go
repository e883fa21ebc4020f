// Package prog is the program that the contract suite of container runtimes runs. It is a package, so that the fake
// runtime can run it as a Go function. It imports only the standard library and golang.org/x/sys.
package prog

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
)

// Process is the program's surroundings.
type Process struct {
	Args    []string // path, command, its arguments
	Env     []string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Signals <-chan syscall.Signal // what Catches says is caught
	Killed  <-chan struct{}       // the fake's SIGKILL; nil in a real process
}

type command func(p Process, args []string) int

// commands that need nothing but Process.
var plain = map[string]command{
	"exit": exit, "print": printBoth, "lines": lines, "sleep": sleep, "catch": catch, "ignore": ignore, "cat": cat, "env": env,
}

// Catches reports whether the command catches signals; all others die of them.
func Catches(name string) bool { return name == "catch" || name == "ignore" || name == "resized" }

// Plain reports whether the command is one that the fake runtime can run too.
func Plain(name string) bool { return plain[name] != nil }

// Run runs the command p.Args[1] and returns the exit code; 64 when there is no such command.
func Run(p Process) int {
	if len(p.Args) < 2 {
		fmt.Fprintln(p.Stderr, "no command")
		return 64
	}
	for _, set := range []map[string]command{plain, kernel} {
		if run := set[p.Args[1]]; run != nil {
			return run(p, p.Args[2:])
		}
	}
	fmt.Fprintln(p.Stderr, "no command", p.Args[1])
	return 64
}

// fail prints err and returns 1; 0 without an error.
func fail(p Process, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(p.Stderr, "error:", err)
	return 1
}

// exit CODE
func exit(_ Process, args []string) int {
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return 64
	}
	return code
}

// print OUT ERR: without newlines
func printBoth(p Process, args []string) int {
	fmt.Fprint(p.Stdout, args[0])
	fmt.Fprint(p.Stderr, args[1])
	return 0
}

// lines N: "line 0" …
func lines(p Process, args []string) int {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return 64
	}
	for i := range n {
		if _, err := fmt.Fprintln(p.Stdout, "line", i); err != nil {
			return 1
		}
	}
	return 0
}

// sleep until a signal
func sleep(p Process, _ []string) int {
	fmt.Fprintln(p.Stdout, "asleep")
	select {
	case sig := <-p.Signals:
		return 128 + int(sig)
	case <-p.Killed:
		return 137
	}
}

// catch CODE: prints each signal; exits with CODE on SIGTERM
func catch(p Process, args []string) int {
	fmt.Fprintln(p.Stdout, "ready")
	for {
		select {
		case sig := <-p.Signals:
			fmt.Fprintln(p.Stdout, "caught", int(sig))
			if sig == syscall.SIGTERM {
				return exit(p, args)
			}
		case <-p.Killed:
			return 137
		}
	}
}

// ignore all signals
func ignore(p Process, _ []string) int {
	fmt.Fprintln(p.Stdout, "ready")
	for {
		select {
		case <-p.Signals:
		case <-p.Killed:
			return 137
		}
	}
}

// cat: standard input to standard output
func cat(p Process, _ []string) int {
	_, err := io.Copy(p.Stdout, p.Stdin)
	return fail(p, err)
}

// env NAME…: values, one a line
func env(p Process, names []string) int {
	for _, name := range names {
		for _, e := range p.Env {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				fmt.Fprintln(p.Stdout, value)
			}
		}
	}
	return 0
}
