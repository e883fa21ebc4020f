// Attack is what the escape tests run inside a container. Each command tries to get out or to change the node; it prints
// a line that begins with ESCAPED for each thing that worked.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	time.AfterFunc(1<<62, func() {}) // while a timer runs, waiting for ever is no deadlock to Go
	args := os.Args[2:]
	switch os.Args[1] {
	case "sleep":
		fmt.Println("ready")
		select {}
	case "exit":
	case "prowl":
		prowl(args[0], len(args) == 1)
	case "climb":
		climbCWD(args[0])
	case "mounts":
		searchMounts(args[0])
	case "swap":
		swap(args[0], args[1])
	case "calls":
		calls()
	case "writes":
		writes()
	case "put":
		put(args[0], args[1:])
	case "devices":
		devices(args[0])
	case "connect":
		connect(args[0])
	case "kill":
		kill(args[0])
	case "links":
		links()
	case "suid":
		suid()
	case "euid":
		fmt.Println("euid", os.Geteuid())
	case "proc":
		proc()
	case "shocker":
		shocker(args[0])
	default:
		fmt.Println("no command", os.Args[1])
		os.Exit(64)
	}
	fmt.Println("done")
}

func escaped(format string, args ...any) { fmt.Printf("ESCAPED: "+format+"\n", args...) }

// terminated becomes true with SIGTERM, which tells a loop to end.
func terminated() *atomic.Bool {
	var over atomic.Bool
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		over.Store(true)
	}()
	fmt.Println("ready")
	return &over
}
