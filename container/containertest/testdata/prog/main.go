// Prog is what the contract suite runs in containers.
//
// It opens no files of its own, so that open ones are the runtime's doing.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"

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
	time.AfterFunc(1<<62, func() {}) // while a timer runs, waiting for ever is no deadlock to Go
	os.Exit(prog.Run(prog.Process{
		Args: os.Args, Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: caught,
	}))
}
