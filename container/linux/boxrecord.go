//go:build linux

package linux

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
)

// boxRecord is what is kept of a sandbox, for as long as this boot lasts.
type boxRecord struct {
	Version   int               `json:"version"`
	Boot      string            `json:"boot"`
	PID       int               `json:"pid"`
	StartTime uint64            `json:"startTime"`
	Sandbox   container.Sandbox `json:"sandbox"`
	Mounts    map[string]int    `json:"mounts"`
}

// boxVersion is that of initproc's programs too: a child only understands the binary it was cloned from.
const boxVersion = 1

func (r *Runtime) boxSocket(id string) string {
	return filepath.Join(r.cfg.RunDir, boxesDir, id+".sock")
}

func (r *Runtime) boxFile(id string) string {
	return filepath.Join(r.cfg.RunDir, boxesDir, id+".json")
}

// boxDir is where a sandbox, and the container that runs in it, has its state and writable layer.
func (r *Runtime) boxDir(id string) string { return filepath.Join(r.cfg.Dir, id) }

// pipeDir is where they have their standard streams.
func (r *Runtime) pipeDir(id string) string { return filepath.Join(r.cfg.RunDir, pipesDir, id) }

// makeBoxDirs makes what costs time on a busy disk, ahead of the start.
func (r *Runtime) makeBoxDirs(b *box) error {
	pipes := r.pipeDir(b.sandbox.ID)
	for _, dir := range []string{r.boxDir(b.sandbox.ID), pipes} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return fmt.Errorf("make directory of sandbox: %w", err)
		}
	}
	for _, name := range []string{"stdout", "stderr"} {
		if err := makePipe(filepath.Join(pipes, name)); err != nil {
			return err
		}
	}
	return nil
}

// makeUpper makes the directories of the writable layer.
func (r *Runtime) makeUpper(b *box) error {
	for _, name := range []string{"upper", "work"} {
		dir := filepath.Join(r.boxDir(b.sandbox.ID), name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make writable layer: %w", err)
		}
	}
	owner := int(b.sandbox.UIDs)
	if err := os.Chown(filepath.Join(r.boxDir(b.sandbox.ID), "upper"), owner, owner); err != nil {
		return fmt.Errorf("set owner of writable layer: %w", err)
	}
	return nil
}

func (r *Runtime) writeBox(b *box) error {
	start, err := processStartTime(b.child.pid)
	if err != nil {
		return err
	}
	data, err := json.Marshal(boxRecord{
		Version: boxVersion, Boot: r.cfg.BootID, PID: b.child.pid, StartTime: start, Sandbox: b.sandbox, Mounts: b.mounts,
	})
	if err != nil {
		return fmt.Errorf("encode sandbox: %w", err)
	}
	// Not replaced atomically: what a crash leaves half written does not decode, and its sandbox is swept.
	if err := os.WriteFile(r.boxFile(b.sandbox.ID), data, 0o600); err != nil {
		return fmt.Errorf("record sandbox: %w", err)
	}
	return nil
}

// forgetBox removes the traces of a sandbox, whether used or discarded.
func (r *Runtime) forgetBox(id string) {
	for _, file := range []string{r.boxFile(id), r.boxSocket(id)} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.cfg.Log.Warn("forget sandbox", "sandbox", id, "err", err)
		}
	}
}

// openBox takes over a sandbox from the runtime that parked it.
func (r *Runtime) openBox(file string) (*box, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var rec boxRecord
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, fmt.Errorf("decode sandbox: %w", err)
	}
	if rec.Version != boxVersion || rec.Boot != r.cfg.BootID {
		return nil, errors.New("sandbox of another boot or version")
	}
	b := &box{sandbox: rec.Sandbox, mounts: rec.Mounts, mnt: -1, child: &child{family: &r.zygote.family, pid: rec.PID, pidfd: -1, ctl: -1}}
	err = r.connectBox(b, rec)
	if err == nil && fileExists(filepath.Join(r.boxDir(rec.Sandbox.ID), recordFile)) {
		// It would not be waiting if its container had started.
		err = errors.Join(errors.New("a start was interrupted"), os.RemoveAll(r.boxDir(rec.Sandbox.ID)))
	}
	if err != nil {
		b.close()
		return nil, err
	}
	r.ids.share(b.sandbox.UIDs)
	return b, nil
}

func (r *Runtime) connectBox(b *box, rec boxRecord) (err error) {
	if b.child.pidfd, err = openProcess(rec.PID, rec.StartTime); err != nil {
		return err
	}
	b.child.family.add(rec.PID)
	if b.child.ctl, err = connectControl(r.boxSocket(rec.Sandbox.ID)); err != nil {
		return fmt.Errorf("connect to sandbox: %w", err)
	}
	if b.mnt, err = unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", rec.PID), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open mount namespace: %w", err)
	}
	b.cgroup, err = newCgroup(r.cfg.CgroupParent, rec.Sandbox.ID)
	return err
}

func fileExists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// close gives up what this process holds of the sandbox, which waits for another runtime.
func (b *box) close() {
	b.child.close()
	if b.mnt >= 0 {
		unix.Close(b.mnt)
		b.mnt = -1
	}
}

// openProcess returns a pidfd of the process that had the pid at startTime.
func openProcess(pid int, startTime uint64) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", pid, err)
	}
	if start, err := processStartTime(pid); err != nil || start != startTime {
		unix.Close(fd)
		return -1, fmt.Errorf("process %d is another one by now", pid)
	}
	return fd, nil
}
