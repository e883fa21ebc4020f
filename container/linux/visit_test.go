//go:build linux

package linux

import (
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestVisitorsLeaveFirstThread makes a visit from a goroutine that has the process's first thread: /proc/self, which is
// that thread's, must stay what it was.
func TestVisitorsLeaveFirstThread(t *testing.T) {
	var v visitors
	if err := v.open(); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	enough := make(chan struct{})
	visited := make(chan int, 1)
	for range 256 { // each takes a thread of its own; one of them gets the first
		all.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if unix.Gettid() != unix.Getpid() {
				<-enough
				return
			}
			done := make(chan error, 1)
			tid := 0
			v.work(visit{namespace: v.home, done: done, do: func() error {
				tid = unix.Gettid()
				return nil
			}})
			if err := <-done; err != nil {
				t.Error(err)
			}
			visited <- tid
		})
	}
	tid := <-visited
	close(enough)
	all.Wait()
	v.close()
	if tid == unix.Getpid() {
		t.Error("the visit was made by the first thread")
	}
}
