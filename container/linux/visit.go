//go:build linux

package linux

import (
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// visitors are threads that enter the mount namespaces of containers and come back.
type visitors struct {
	once sync.Once
	home int // our own mount namespace
	err  error
	jobs chan visit
	free chan struct{} // one token per thread that may still be made
}

type visit struct {
	namespace int
	do        func() error
	done      chan<- error
}

const maxVisitors = 8

func (v *visitors) open() error {
	v.once.Do(func() {
		v.home, v.err = unix.Open("/proc/self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		v.jobs = make(chan visit)
		v.free = make(chan struct{}, maxVisitors)
		for range maxVisitors {
			v.free <- struct{}{}
		}
	})
	return v.err
}

// visit runs do on a thread whose mount namespace, root and working directory are those of namespace.
func (v *visitors) visit(namespace int, do func() error) error {
	if err := v.open(); err != nil {
		return fmt.Errorf("open own mount namespace: %w", err)
	}
	done := make(chan error, 1)
	job := visit{namespace: namespace, do: do, done: done}
	select {
	case v.jobs <- job:
	default:
		select {
		case v.jobs <- job:
		case <-v.free:
			go v.work(job)
		}
	}
	return <-done
}

// work never unlocks its thread, so that the runtime ends the thread with it. It leaves the process's first thread
// alone, which would not end, and for which /proc/self stands to all others.
func (v *visitors) work(job visit) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		defer runtime.UnlockOSThread()
		other := make(chan struct{})
		go func() {
			runtime.LockOSThread() // on another, since this one is held
			close(other)
			v.work(job)
		}()
		<-other
		return
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		v.free <- struct{}{}
		job.done <- fmt.Errorf("unshare root directory: %w", err)
		return
	}
	unix.Umask(0)
	for {
		err := unix.Setns(job.namespace, unix.CLONE_NEWNS)
		if err != nil {
			err = fmt.Errorf("enter mount namespace: %w", err)
		} else {
			err = job.do()
		}
		back := unix.Setns(v.home, unix.CLONE_NEWNS)
		if back != nil {
			v.free <- struct{}{}
			job.done <- err
			return
		}
		job.done <- err
		var open bool
		if job, open = <-v.jobs; !open {
			return
		}
	}
}

func (v *visitors) close() {
	if v.jobs != nil {
		close(v.jobs)
		unix.Close(v.home)
	}
}
