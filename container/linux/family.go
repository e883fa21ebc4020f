//go:build linux

package linux

import (
	"sync"

	"golang.org/x/sys/unix"
)

// family knows the children that somebody here waits for, from the rest that the kernel gave this process as the
// reaper of orphans.
type family struct {
	// births is held for reading while a child is made and its pid not yet known.
	births sync.RWMutex

	mu   sync.Mutex
	pids map[int]bool
}

// Children is what another runtime in this process says of its children, so that ReapOrphans leaves them alone.
type Children struct{ f *family }

// Children returns the runtime's account of children.
func (r *Runtime) Children() Children { return Children{&r.zygote.family} }

// Birth says that a child is about to be made whose process ID is not known yet, until done is called.
func (c Children) Birth() (done func()) {
	c.f.births.RLock()
	return c.f.births.RUnlock
}

// Add says that somebody waits for a child.
func (c Children) Add(pid int) { c.f.add(pid) }

// Remove says that it was waited for.
func (c Children) Remove(pid int) { c.f.remove(pid) }

func (f *family) add(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pids == nil {
		f.pids = map[int]bool{}
	}
	f.pids[pid] = true
}

func (f *family) remove(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pids, pid)
}

func (f *family) has(pid int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pids[pid]
}

// ReapOrphans waits for dead children of this process that are none of the runtime's own. Only a process that has no
// other children may call it.
func (r *Runtime) ReapOrphans() {
	f := &r.zygote.family
	if !f.births.TryLock() {
		return // the next signal or tick comes; waiting here would hold up all births
	}
	defer f.births.Unlock()
	for {
		var info siginfo
		err := unix.Waitid(unix.P_ALL, 0, info.raw(), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != nil || info.pid == 0 || f.has(int(info.pid)) { // whoever waits for it will make room for the next
			return
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(int(info.pid), &status, unix.WNOHANG, nil); err != nil {
			return
		}
	}
}
