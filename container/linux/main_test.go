//go:build linux

package linux

import (
	"os"
	"runtime"
	"testing"
)

// The main goroutine stays on the process's first thread, so that tests can run something there.
func init() { runtime.LockOSThread() }

var firstThread = make(chan func())

func TestMain(m *testing.M) {
	code := make(chan int)
	go func() { code <- m.Run() }()
	for {
		select {
		case do := <-firstThread:
			do()
		case c := <-code:
			os.Exit(c)
		}
	}
}

// onFirstThread runs do on the process's first thread.
func onFirstThread(do func()) {
	done := make(chan struct{})
	firstThread <- func() { defer close(done); do() }
	<-done
}
