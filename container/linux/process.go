//go:build linux

package linux

import (
	"encoding/binary"
	"fmt"
	"path"
	"slices"
	"strings"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container/linux/initproc"
)

// launch is all that a process in a container is, decided before it is made.
type launch struct {
	args, env []string
	cwd       string
	user      user
	umask     int // -1: inherited
	caps      capSets
	lastCap   int
	noNewPriv bool
	filter    []unix.SockFilter
	filterArg uint
	rlimits   []rlimit
	terminal  bool
	init      bool // PID 1 of ours above it
	// Of a container's first process only.
	hostname, domainname string
	sysctls              [][2]string // path below /proc/sys, value
}

// rlimit is one resource limit.
type rlimit struct {
	name       string
	resource   int
	soft, hard uint64
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Registers that the standard streams come in.
const regStdin = 1

// perform writes the steps from a parked child to execve. The standard streams are in registers 1, 2 and 3.
func (l *launch) perform(p *program) {
	for fd := range 3 {
		p.do("set standard streams", unix.SYS_DUP3, reg(regStdin+fd), fd, 0)
	}
	if !l.init {
		l.session(p)
	}
	if l.hostname != "" {
		p.do("set host name", unix.SYS_SETHOSTNAME, p.str(l.hostname), len(l.hostname))
	}
	if l.domainname != "" {
		p.do("set domain name", unix.SYS_SETDOMAINNAME, p.str(l.domainname), len(l.domainname))
	}
	l.setSysctls(p)
	for _, r := range l.rlimits {
		value := p.bytes(binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, r.soft), r.hard))
		p.do("set limit "+r.name, unix.SYS_PRLIMIT64, 0, r.resource, value, 0)
	}
	if l.umask >= 0 {
		p.do("set umask", unix.SYS_UMASK, l.umask)
	}
	// From here nothing of the node is open, so that no path can lead back there (CVE-2024-21626).
	p.do("close descriptors", unix.SYS_CLOSE_RANGE, initproc.FirstFree, 1<<32-1, 0)
	l.enterWorkingDir(p)
	l.dropPrivileges(p)
	if l.init {
		p.do("make init process", initproc.OpInit)
		l.session(p)
	}
	p.do("unblock signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, p.space(8), 0, 8)
	l.exec(p)
}

func (l *launch) session(p *program) {
	p.do("make session", unix.SYS_SETSID).Flags = initproc.IgnoreError // a parked child may lead one already
	if l.terminal {
		p.do("take terminal", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
}

// setSysctls writes through a procfs of its own, in which nothing is mounted over anything (CVE-2025-52881).
func (l *launch) setSysctls(p *program) {
	const regFile, regProc = regSocket, regMounts
	if len(l.sysctls) > 0 {
		p.makeFS(regProc, ownFS{kind: "proc"})
	}
	for _, s := range l.sysctls {
		words := "set sysctl " + strings.ReplaceAll(s[0], "/", ".")
		how := binary.NativeEndian.AppendUint64(nil, unix.O_WRONLY|unix.O_CLOEXEC)
		how = binary.NativeEndian.AppendUint64(how, 0)
		how = binary.NativeEndian.AppendUint64(how, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_XDEV)
		p.do(words, unix.SYS_OPENAT2, reg(regProc), p.str("sys/"+s[0]), p.bytes(how), len(how)).Dst = regFile
		p.do(words, unix.SYS_WRITE, reg(regFile), p.str(s[1]), len(s[1]))
		p.do(words, unix.SYS_CLOSE, reg(regFile))
	}
}

// enterWorkingDir changes to it, and checks that the kernel can name it from the container's root.
func (l *launch) enterWorkingDir(p *program) {
	words := "change to working directory " + l.cwd
	p.do(words, unix.SYS_CHDIR, p.str(l.cwd))
	buf := p.space(unix.PathMax)
	p.do(words, unix.SYS_GETCWD, buf, unix.PathMax)
	p.do(words+" outside of the container", initproc.OpByte, buf, int('/'), int(unix.EPERM))
}

func (l *launch) dropPrivileges(p *program) {
	if !l.noNewPriv {
		l.installFilter(p) // needs CAP_SYS_ADMIN in this case
	}
	p.dropBounding(l.caps, l.lastCap)
	p.do("keep capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	groups := appendUint32(nil, l.user.groups...)
	p.do("set groups", unix.SYS_SETGROUPS, len(l.user.groups), p.bytes(groups))
	p.do(fmt.Sprint("set group ", l.user.gid), unix.SYS_SETRESGID, l.user.gid, l.user.gid, l.user.gid)
	p.do(fmt.Sprint("set user ", l.user.uid), unix.SYS_SETRESUID, l.user.uid, l.user.uid, l.user.uid)
	p.do("keep capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0)
	p.setCaps(l.caps)
	if l.noNewPriv {
		p.do("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		l.installFilter(p)
	}
}

func (l *launch) installFilter(p *program) {
	if len(l.filter) == 0 {
		return
	}
	code := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(l.filter))), len(l.filter)*int(unsafe.Sizeof(l.filter[0])))
	at := p.bytes(code)
	fprog := p.bytes(binary.NativeEndian.AppendUint64(nil, uint64(len(l.filter)))) // length, padding, pointer
	pointer := p.space(8)
	p.pointer(pointer, at)
	p.do("install seccomp filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, int(l.filterArg), fprog)
}

// exec tries the places where the program may be.
func (l *launch) exec(p *program) {
	args, env := p.strs(l.args), p.strs(l.env)
	for _, file := range l.candidates() {
		p.do("execute "+file, unix.SYS_EXECVE, p.str(file), args, env).Flags = initproc.Try
	}
	p.do("execute "+l.args[0], initproc.OpFail, int(unix.ENOENT))
}

// candidates are the paths that execvp(3) would try.
func (l *launch) candidates() []string {
	name := l.args[0]
	if strings.Contains(name, "/") {
		return []string{name}
	}
	search := defaultPath
	for _, e := range l.env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			search = v
		}
	}
	var list []string
	for dir := range strings.SplitSeq(search, ":") {
		file := path.Join(dir, name)
		if !strings.Contains(file, "/") { // "" means the working directory
			file = "./" + file
		}
		list = append(list, file)
	}
	return list
}

func appendUint32(b []byte, list ...uint32) []byte {
	for _, v := range list {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

// newLaunch converts an OCI process. What it cannot honour is an error.
func (r *Runtime) newLaunch(proc *specs.Process, filter *specs.LinuxSeccomp, userNS bool) (*launch, error) {
	if err := checkProcess(proc); err != nil {
		return nil, err
	}
	l := &launch{
		args: proc.Args, env: proc.Env, cwd: path.Clean("/" + proc.Cwd), umask: -1, noNewPriv: proc.NoNewPrivileges,
		terminal: proc.Terminal, lastCap: r.lastCap,
		user: user{uid: proc.User.UID, gid: proc.User.GID, groups: proc.User.AdditionalGids},
	}
	if proc.User.Umask != nil {
		l.umask = int(*proc.User.Umask)
	}
	available := r.bounding
	if userNS {
		available = allCaps
	}
	var err error
	if l.caps, err = parseCaps(proc.Capabilities, available); err != nil {
		return nil, err
	}
	if l.rlimits, err = parseRlimits(proc.Rlimits); err != nil {
		return nil, err
	}
	l.filter, l.filterArg, err = compileFilter(filter)
	return l, err
}

func checkProcess(proc *specs.Process) error {
	switch {
	case proc == nil || len(proc.Args) == 0 || proc.Args[0] == "":
		return holdfast.Errorf(holdfast.ErrInvalid, "process has no arguments")
	case !path.IsAbs(proc.Cwd):
		return holdfast.Errorf(holdfast.ErrInvalid, "working directory %q is not absolute", proc.Cwd)
	case proc.ApparmorProfile != "":
		return holdfast.Errorf(holdfast.ErrUnsupported, "process: AppArmor profile")
	case proc.SelinuxLabel != "":
		return holdfast.Errorf(holdfast.ErrUnsupported, "process: SELinux label")
	case proc.Scheduler != nil || proc.IOPriority != nil || proc.ExecCPUAffinity != nil:
		return holdfast.Errorf(holdfast.ErrUnsupported, "process: scheduler, I/O priority or CPU affinity")
	case proc.User.Username != "":
		return holdfast.Errorf(holdfast.ErrUnsupported, "process: Windows user name")
	}
	for _, s := range slices.Concat(proc.Args, proc.Env) {
		if strings.ContainsRune(s, 0) {
			return holdfast.Errorf(holdfast.ErrInvalid, "process: argument or variable with a zero byte")
		}
	}
	return nil
}
