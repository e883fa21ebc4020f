//go:build linux

package linux

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux/initproc"
)

// box is a parked sandbox: a child in its own namespaces and cgroup that waits for its last program.
type box struct {
	sandbox container.Sandbox
	child   *child
	cgroup  *cgroup
	mnt     int            // its mount namespace
	mounts  map[string]int // file systems that only it can make: descriptor numbers in the child, by type
}

// boxPrefix begins the IDs of sandboxes, and the names of cgroups.
const boxPrefix = "sb-"

// Park makes a sandbox. It implements container.Runtime.
func (r *Runtime) Park(ctx context.Context, opt container.ParkOptions) (container.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return container.Sandbox{}, err
	}
	if opt.Runtime != "" {
		return container.Sandbox{}, holdfast.Errorf(holdfast.ErrUnsupported, "park sandbox: runtime %q is not this one", opt.Runtime)
	}
	b, err := r.park(opt)
	if err != nil {
		return container.Sandbox{}, fmt.Errorf("park sandbox: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.boxes[b.sandbox.ID] = b
	r.hub.Publish(b.status())
	return b.sandbox, nil
}

func (b *box) status() container.Status {
	return container.Status{ID: b.sandbox.ID, Phase: container.Parked, PID: b.child.pid, Sandbox: b.sandbox}
}

func (r *Runtime) park(opt container.ParkOptions) (_ *box, err error) {
	b := &box{sandbox: container.Sandbox{ID: boxPrefix + strings.ToLower(rand.Text()[:16]), Opt: opt}, mnt: -1}
	defer func() {
		if err != nil {
			r.discard(b)
		}
	}()
	if b.cgroup, err = newCgroup(r.cfg.CgroupParent, b.sandbox.ID); err != nil {
		return nil, err
	}
	if err := r.makeBoxDirs(b); err != nil {
		return nil, err
	}
	if opt.NetOf != "" {
		err = r.spawnBeside(b)
	} else {
		err = r.spawnAlone(b)
	}
	if err != nil {
		return nil, err
	}
	if err := r.makeUpper(b); err != nil {
		return nil, err
	}
	b.sandbox.NetNS = fmt.Sprintf("/proc/%d/ns/net", b.child.pid)
	if b.mnt, err = unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", b.child.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open mount namespace: %w", err)
	}
	if err := b.cgroup.attach(b.child.pid); err != nil {
		return nil, err
	}
	if err := b.cgroup.set(defaultLimits()); err != nil {
		return nil, err
	}
	if err := b.prepare(); err != nil {
		return nil, err
	}
	return b, r.writeBox(b)
}

// wantsUserNS tells whether a sandbox can have a user namespace: what the node owns, such as its network, can only be
// used by the node's own root.
func (r *Runtime) wantsUserNS(opt container.ParkOptions) bool {
	return r.userNS && !opt.HostUserNS && !opt.HostNet && !opt.HostPID && !opt.HostIPC
}

func cloneFlags(opt container.ParkOptions) uint64 {
	flags := uint64(unix.CLONE_NEWNS)
	for _, ns := range []struct {
		host bool
		flag uint64
	}{
		{opt.HostPID, unix.CLONE_NEWPID},
		{opt.HostIPC, unix.CLONE_NEWIPC},
		{opt.HostUTS, unix.CLONE_NEWUTS},
		{opt.HostNet || opt.NetOf != "", unix.CLONE_NEWNET},
	} {
		if !ns.host {
			flags |= ns.flag
		}
	}
	return flags
}

func (r *Runtime) spawnAlone(b *box) (err error) {
	flags := cloneFlags(b.sandbox.Opt)
	if r.wantsUserNS(b.sandbox.Opt) {
		flags |= unix.CLONE_NEWUSER
		if b.sandbox.UIDs, err = r.ids.take(); err != nil {
			return err
		}
	}
	if b.child, err = r.zygote.spawn(flags, r.boxSocket(b.sandbox.ID)); err != nil {
		return err
	}
	if b.sandbox.UIDs != 0 {
		return r.ids.mapIDs(b.child.pid, b.sandbox.UIDs)
	}
	return nil
}

// spawnBeside makes the sandbox in the network and user namespaces of another.
func (r *Runtime) spawnBeside(b *box) error {
	pid, ids, err := r.processOf(b.sandbox.Opt.NetOf)
	if err != nil {
		return err
	}
	other, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open process of %s: %w", b.sandbox.Opt.NetOf, err)
	}
	defer unix.Close(other)
	first, err := r.zygote.spawn(0, r.boxSocket(b.sandbox.ID))
	if err != nil {
		return err
	}
	join := unix.CLONE_NEWNET
	if ids != 0 {
		join |= unix.CLONE_NEWUSER
		b.sandbox.UIDs = ids
		r.ids.share(ids)
	}
	var p program
	p.do("join namespaces of "+b.sandbox.Opt.NetOf, unix.SYS_SETNS, reg(1), join)
	p.do("clone", initproc.OpFork, cloneFlags(b.sandbox.Opt)|unix.CLONE_PARENT)
	b.child, err = first.fork(&p, other)
	return err
}

// fork runs a program that ends in OpFork; c is used up and the new process, a child of ours as well, returned. It waits
// for a program.
func (c *child) fork(p *program, files ...int) (*child, error) {
	c.family.births.RLock()
	defer c.family.births.RUnlock()
	answer, err := p.run(c.ctl, files...)
	if err != nil || answer.gone {
		c.reap()
		return nil, errors.Join(err, goneError(answer.gone))
	}
	next := &child{family: c.family, pid: answer.pid, ctl: c.ctl}
	c.ctl = -1
	c.wait()
	return next, next.open()
}

func goneError(gone bool) error {
	if gone {
		return errors.New("process died")
	}
	return nil
}

// Registers of the child that hold what prepare made.
const (
	regSocket = 15
	regFS     = 16
	regMounts = 17
)

// prepare runs what a child can do before it knows its container.
func (b *box) prepare() error {
	p := parkProgram(b.sandbox)
	answer, err := p.run(b.child.ctl)
	if err != nil || answer.gone {
		return errors.Join(err, goneError(answer.gone))
	}
	b.mounts = map[string]int{}
	for i, fs := range ownMounts() {
		if fd := answer.registers[regMounts+i]; fd >= 0 {
			b.mounts[fs.key] = int(fd)
		}
	}
	return nil
}

func parkProgram(s container.Sandbox) *program {
	p := &program{}
	if s.UIDs != 0 {
		p.do("become root of the user namespace", unix.SYS_SETRESGID, 0, 0, 0)
		p.do("become root of the user namespace", unix.SYS_SETRESUID, 0, 0, 0)
	}
	p.do("make cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	// Nothing that is mounted here shows on the node; what is mounted there may still come in by shared volumes.
	p.do("make mounts private", unix.SYS_MOUNT, 0, p.str("/"), 0, unix.MS_REC|unix.MS_SLAVE, 0)
	if !s.Opt.HostNet && s.Opt.NetOf == "" {
		p.loopbackUp()
	}
	for i, fs := range ownMounts() {
		p.makeFS(regMounts+i, fs)
	}
	p.do("answer", initproc.OpAnswer)
	return p
}

func (p *program) loopbackUp() {
	ifreq := make([]byte, 40)
	copy(ifreq, "lo")
	ifreq[16] = unix.IFF_UP | unix.IFF_RUNNING
	p.do("open socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0).Dst = regSocket
	p.do("set loopback up", unix.SYS_IOCTL, reg(regSocket), unix.SIOCSIFFLAGS, p.bytes(ifreq))
	p.do("close socket", unix.SYS_CLOSE, reg(regSocket))
}

// ownFS is a file system that shows a namespace and therefore has to be made by a process in it.
type ownFS struct {
	key   string // in box.mounts
	kind  string
	flags string // options, with commas between
}

// ownMounts lists them. What a sandbox may not mount is found out when a container wants it.
func ownMounts() []ownFS {
	list := []ownFS{{"proc", "proc", ""}, {"sysfs", "sysfs", ""}, {"mqueue", "mqueue", ""}}
	return append(list, cgroupMounts()...)
}

// makeFS leaves the descriptor of a new detached mount in register dst, or -1 there.
func (p *program) makeFS(dst int, fs ownFS) {
	const fsconfigCreate, fsconfigFlag = 6, 0
	first := len(p.ops)
	p.do("open file system", unix.SYS_FSOPEN, p.str(fs.kind), unix.FSOPEN_CLOEXEC).Dst = regFS
	for _, flag := range strings.FieldsFunc(fs.flags, func(c rune) bool { return c == ',' }) {
		p.do("set option", unix.SYS_FSCONFIG, reg(regFS), fsconfigFlag, p.str(flag), 0, 0)
	}
	p.do("create file system", unix.SYS_FSCONFIG, reg(regFS), fsconfigCreate, 0, 0, 0)
	p.do("mount", unix.SYS_FSMOUNT, reg(regFS), unix.FSMOUNT_CLOEXEC, 0).Dst = uint8(dst)
	p.do("close file system", unix.SYS_CLOSE, reg(regFS))
	for i := first; i < len(p.ops); i++ {
		p.ops[i].Flags |= initproc.IgnoreError | initproc.MinusOne
	}
}

// takeMount copies a descriptor of the child's into this process.
func (b *box) takeMount(key string) (int, error) {
	fd, ok := b.mounts[key]
	if !ok {
		return -1, holdfast.Errorf(holdfast.ErrUnsupported, "%s cannot be mounted in a sandbox with these namespaces", key)
	}
	own, err := unix.PidfdGetfd(b.child.pidfd, fd, 0)
	if err != nil {
		return -1, fmt.Errorf("take %s mount of the sandbox: %w", key, err)
	}
	return own, nil
}

// discard ends a sandbox and frees what it held.
func (r *Runtime) discard(b *box) {
	if b.child != nil {
		b.child.reap()
	}
	r.forgetBox(b.sandbox.ID)
	if b.mnt >= 0 {
		unix.Close(b.mnt)
	}
	if b.cgroup != nil {
		if err := b.cgroup.remove(); err != nil {
			r.cfg.Log.Warn("remove cgroup", "sandbox", b.sandbox.ID, "err", err)
		}
	}
	r.ids.drop(b.sandbox.UIDs)
	if err := errors.Join(os.RemoveAll(r.boxDir(b.sandbox.ID)), os.RemoveAll(r.pipeDir(b.sandbox.ID))); err != nil {
		r.cfg.Log.Warn("remove directories of sandbox", "sandbox", b.sandbox.ID, "err", err)
	}
}
