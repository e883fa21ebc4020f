//go:build linux

package linux

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestVisitorsLeaveFirstThread(t *testing.T) {
	var v visitors
	if err := v.open(); err != nil {
		t.Fatal(err)
	}
	defer v.close()
	done := make(chan error, 1)
	on, made := 0, 0
	onFirstThread(func() {
		on = unix.Gettid()
		v.work(visit{namespace: v.home, done: done, do: func() error {
			made = unix.Gettid()
			return nil
		}})
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if on != unix.Getpid() {
		t.Fatalf("the test ran on thread %d, not on the first, %d", on, unix.Getpid())
	}
	if made == unix.Getpid() {
		t.Error("the visit was made by the first thread")
	}
}
