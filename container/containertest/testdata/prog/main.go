// Prog is what the contract suite runs in containers.
package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/holdfast/holdfast/container/containertest/prog"
)

func main() {
	signals := make(chan os.Signal, 64)
	if len(os.Args) > 1 && prog.Catches(os.Args[1]) {
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGWINCH)
	}
	caught := make(chan syscall.Signal)
	go func() {
		for s := range signals {
			caught <- s.(syscall.Signal)
		}
	}()
	os.Exit(prog.Run(prog.Process{
		Args: os.Args, Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: caught,
	}))
}
