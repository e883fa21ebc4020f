//go:build linux

package linux

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container/linux/initproc"
)

// vault is a process that holds what containers would miss if this one died: masters of terminals, our ends of
// standard inputs, and a pidfd of each, from which the kernel (6.15 and newer) tells the exit code even of a process
// that somebody else reaped meanwhile. It is a child of the zygote that does nothing but keep descriptors, and serves
// one runtime after the other.
type vault struct {
	runtime *Runtime

	mu    sync.Mutex
	child *child // nil: none yet
	used  map[int]bool
}

// slots are numbers of descriptors in the vault; 0 is none.
type slots struct {
	Process  int `json:"process,omitempty"`
	Terminal int `json:"terminal,omitempty"`
	Stdin    int `json:"stdin,omitempty"`
}

func (s slots) list() []int { return []int{s.Process, s.Terminal, s.Stdin} }

const firstSlot = 64

// vaultRecord says which process the vault is.
type vaultRecord struct {
	Version   int    `json:"version"`
	Boot      string `json:"boot"`
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"`
}

func (v *vault) file(name string) string { return filepath.Join(v.runtime.cfg.RunDir, "vault."+name) }

// reserve returns the number of a free slot.
func (v *vault) reserve() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	for slot := firstSlot; ; slot++ {
		if !v.used[slot] {
			v.used[slot] = true
			return slot
		}
	}
}

// put copies fd into a reserved slot.
func (v *vault) put(slot, fd int) error {
	var p program
	p.do("keep descriptor", unix.SYS_DUP3, reg(1), slot, 0)
	p.do("close copy", unix.SYS_CLOSE, reg(1))
	if err := v.run(&p, fd); err != nil {
		return fmt.Errorf("keep descriptor: %w", err)
	}
	return nil
}

// drop closes slots and makes them free.
func (v *vault) drop(list ...int) error {
	var p program
	for _, slot := range list {
		if slot != 0 {
			p.do("close descriptor", unix.SYS_CLOSE, slot).Flags = initproc.IgnoreError // it may never have been put
		}
	}
	var err error
	if len(p.ops) > 0 && v.open() {
		err = v.run(&p)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, slot := range list {
		delete(v.used, slot)
	}
	if err != nil {
		return fmt.Errorf("drop descriptors: %w", err)
	}
	return nil
}

func (v *vault) open() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.child != nil
}

// take returns a copy of what is in a slot.
func (v *vault) take(slot int) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.child == nil || slot == 0 {
		return -1, errors.New("not kept")
	}
	fd, err := unix.PidfdGetfd(v.child.pidfd, slot, 0)
	if err != nil {
		return -1, fmt.Errorf("take kept descriptor: %w", err)
	}
	return fd, nil
}

// takeFile is take for a stream; nil when it is not there.
func (v *vault) takeFile(slot int, name string) *os.File {
	fd, err := v.take(slot)
	if err != nil {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

// run runs p in the vault, which is started at the first need.
func (v *vault) run(p *program, files ...int) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.child == nil {
		if err := v.startLocked(); err != nil {
			return err
		}
	}
	p.do("answer", initproc.OpAnswer)
	answer, err := p.run(v.child.ctl, files...)
	if err == nil && !answer.gone {
		return nil
	}
	v.child.reap() // a new one keeps what comes from now on
	v.child = nil
	return errors.Join(err, goneError(answer.gone))
}

func (v *vault) startLocked() error {
	if err := os.RemoveAll(v.file("sock")); err != nil {
		return err
	}
	c, err := v.runtime.zygote.spawn(0, v.file("sock"))
	if err != nil {
		return fmt.Errorf("start vault: %w", err)
	}
	var p program
	p.do("make session", unix.SYS_SETSID)
	p.do("answer", initproc.OpAnswer)
	answer, err := p.run(c.ctl)
	if err == nil {
		err = goneError(answer.gone)
	}
	if err == nil {
		err = v.settle(c.pid)
	}
	if err != nil {
		c.reap()
		return fmt.Errorf("start vault: %w", err)
	}
	v.child = c
	return nil
}

// vaultCgroup, below Config.CgroupParent, holds the vault, so that one that nobody can reach any more is found.
const vaultCgroup = "vault"

func (v *vault) settle(pid int) error {
	g, err := newCgroup(v.runtime.cfg.CgroupParent, vaultCgroup)
	if err != nil {
		return err
	}
	if err := g.attach(pid); err != nil {
		return err
	}
	return v.writeRecord(pid)
}

func (v *vault) writeRecord(pid int) error {
	start, err := processStartTime(pid)
	if err != nil {
		return err
	}
	data, err := json.Marshal(vaultRecord{Version: boxVersion, Boot: v.runtime.cfg.BootID, PID: pid, StartTime: start})
	if err != nil {
		return err
	}
	return os.WriteFile(v.file("json"), data, 0o600)
}

// adopt takes over the vault of an earlier runtime, if there is one, and ends one that cannot be.
func (v *vault) adopt() error {
	v.used = map[int]bool{}
	err := v.connect()
	if err == nil {
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		v.runtime.cfg.Log.Info("drop vault", "reason", err)
	}
	return v.sweep()
}

func (v *vault) connect() error {
	data, err := os.ReadFile(v.file("json"))
	if err != nil {
		return err
	}
	var rec vaultRecord
	if err := json.Unmarshal(data, &rec); err != nil {
		return fmt.Errorf("decode vault: %w", err)
	}
	if rec.Version != boxVersion || rec.Boot != v.runtime.cfg.BootID {
		return errors.New("vault of another boot or version")
	}
	c := &child{family: &v.runtime.zygote.family, pid: rec.PID, ctl: -1}
	if c.pidfd, err = openProcess(rec.PID, rec.StartTime); err != nil {
		return err
	}
	if c.ctl, err = connectControl(v.file("sock")); err != nil {
		c.close()
		return fmt.Errorf("connect to vault: %w", err)
	}
	c.family.add(rec.PID)
	v.child = c
	return nil
}

// sweep ends whatever is in the vault's cgroup.
func (v *vault) sweep() error {
	g, err := newCgroup(v.runtime.cfg.CgroupParent, vaultCgroup)
	if err != nil || !g.exists() {
		return err
	}
	return errors.Join(g.killAll(), g.remove())
}

// use marks the slots of an adopted container.
func (v *vault) use(s slots) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, slot := range s.list() {
		if slot != 0 {
			v.used[slot] = true
		}
	}
}

// close leaves the vault to the next runtime; an empty one ends.
func (v *vault) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.child == nil {
		return
	}
	if len(v.used) > 0 {
		v.child.close()
	} else {
		v.child.reap()
		if err := errors.Join(os.Remove(v.file("sock")), os.Remove(v.file("json")), v.sweep()); err != nil {
			v.runtime.cfg.Log.Warn("remove vault", "err", err) // the next runtime can do with it
		}
	}
	v.child = nil
}
