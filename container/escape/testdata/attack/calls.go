package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls makes system calls that a container has no business with. They are called so that they do no harm where they
// work.
func calls() {
	raw := func(nr uintptr, args ...uintptr) func() error {
		return func() error {
			var a [6]uintptr
			copy(a[:], args)
			if _, _, errno := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
				return errno
			}
			return nil
		}
	}
	var spare [256]byte
	p := uintptr(unsafe.Pointer(&spare))
	for name, call := range map[string]func() error{
		"unshare user":     func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"unshare mount":    func() error { return unix.Unshare(unix.CLONE_NEWNS) },
		"unshare cgroup":   func() error { return unix.Unshare(unix.CLONE_NEWCGROUP) },
		"clone user":       raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|unix.CLONE_FS), // invalid, where it gets through
		"mount tmpfs":      func() error { return unix.Mount("none", "/mnt", "tmpfs", 0, "") },
		"mount proc":       func() error { return unix.Mount("proc", "/mnt", "proc", 0, "") },
		"mount cgroup":     func() error { return unix.Mount("none", "/mnt", "cgroup", 0, "memory") },
		"mount sysfs":      func() error { return unix.Mount("none", "/mnt", "sysfs", 0, "") },
		"remount proc/sys": func() error { return unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
		"remount sys":      func() error { return unix.Mount("", "/sys", "", unix.MS_REMOUNT, "") },
		"unmount proc/sys": func() error { return unix.Unmount("/proc/sys", unix.MNT_DETACH) },
		"unmount mask":     func() error { return unix.Unmount("/proc/kcore", unix.MNT_DETACH) },
		"pivot root":       func() error { return unix.PivotRoot("/", "/mnt") },
		"open tree":        func() error { _, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE); return err },
		"fsopen":           func() error { _, err := unix.Fsopen("tmpfs", 0); return err },
		"setns":            setns,
		"add key": func() error {
			_, err := unix.AddKey("user", "x", []byte("y"), unix.KEY_SPEC_SESSION_KEYRING)
			return err
		},
		"keyctl":           func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false); return err },
		"request key":      func() error { _, err := unix.RequestKey("user", "x", "", 0); return err },
		"bpf":              raw(unix.SYS_BPF, 0, p, 64),
		"perf event":       raw(unix.SYS_PERF_EVENT_OPEN, p, 0, ^uintptr(0), ^uintptr(0), 0),
		"userfaultfd":      raw(unix.SYS_USERFAULTFD, 0),
		"io_uring":         raw(unix.SYS_IO_URING_SETUP, 1, p),
		"init module":      raw(unix.SYS_INIT_MODULE, p, 0, p),
		"finit module":     raw(unix.SYS_FINIT_MODULE, ^uintptr(0), p, 0),
		"delete module":    raw(unix.SYS_DELETE_MODULE, p, 0),
		"kexec":            raw(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0),
		"reboot":           raw(unix.SYS_REBOOT, 0xfee1dead, 672274793, unix.LINUX_REBOOT_CMD_CAD_OFF, 0),
		"swapon":           raw(unix.SYS_SWAPON, p, 0),
		"settimeofday":     raw(unix.SYS_SETTIMEOFDAY, 0, p),
		"clock settime":    raw(unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, 0),
		"acct":             raw(unix.SYS_ACCT, p),
		"quotactl":         raw(unix.SYS_QUOTACTL, 0, p, 0, p),
		"syslog":           raw(unix.SYS_SYSLOG, 10, 0, 0),
		"sethostname":      func() error { return unix.Sethostname([]byte("taken")) },
		"nfsservctl":       raw(unix.SYS_NFSSERVCTL, 0, p, p),
		"process_vm_readv": foreignMemory,
		"AF_VSOCK":         func() error { _, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0); return err },
		"AF_ALG":           func() error { _, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0); return err },
		"personality":      raw(unix.SYS_PERSONALITY, 0x0040000), // ADDR_NO_RANDOMIZE
		"hard priority":    func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -20) },
		"raise open files": func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 30, Max: 1 << 30}) },
		"move mount":       func() error { return unix.MoveMount(unix.AT_FDCWD, "/sys", unix.AT_FDCWD, "/mnt", 0) },
		"mount setattr": func() error {
			return unix.MountSetattr(unix.AT_FDCWD, "/sys", 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
		},
		"network admin": linkDown,
		"capability, raised": func() error {
			return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_SYS_ADMIN, 0, 0)
		},
	} {
		refused := false
		err := call()
		for _, no := range []error{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.ESRCH} {
			refused = refused || errors.Is(err, no)
		}
		if !refused { // what fails for another reason would work with other arguments
			escaped("%s: %v", name, err)
		}
	}
	archCalls(p)
}

func setns() error {
	fd, err := unix.Open("/proc/1/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, unix.CLONE_NEWNS)
}

// foreignMemory reads memory of a process that is not the container's.
func foreignMemory() error {
	buf := make([]byte, 8)
	local := []unix.Iovec{{Base: &buf[0], Len: 8}}
	_, err := unix.ProcessVMReadv(1<<21, local, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
	return err
}

func linkDown() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifreq, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifreq)
}

// devices makes device files and opens them: the memory, the disks, and others, but for the one that is allowed.
func devices(allowed string) {
	for _, d := range []struct {
		mode         uint32
		major, minor uint32
	}{
		{unix.S_IFCHR, 1, 1}, {unix.S_IFCHR, 1, 2}, {unix.S_IFCHR, 1, 4}, {unix.S_IFBLK, 8, 0}, {unix.S_IFBLK, 254, 0}, {unix.S_IFBLK, 253, 0},
		{unix.S_IFBLK, 7, 0}, {unix.S_IFCHR, 10, 229}, {unix.S_IFCHR, 10, 232}, {unix.S_IFCHR, 10, 237}, {unix.S_IFCHR, 4, 0}, {unix.S_IFCHR, 10, 200},
	} {
		path := fmt.Sprintf("/tmp/dev-%o-%d-%d", d.mode, d.major, d.minor)
		if err := unix.Mknod(path, d.mode|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			fmt.Println("mknod:", err)
			continue
		}
		if fmt.Sprintf("%d:%d", d.major, d.minor) == allowed {
			continue
		}
		for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY} {
			fd, err := unix.Open(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err == nil {
				escaped("opened device %d:%d", d.major, d.minor)
				unix.Close(fd)
			} else if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
				// Refused only because the node has no such device.
				escaped("device %d:%d would open: %v", d.major, d.minor, err)
			}
		}
	}
	for _, path := range []string{"/dev/mem", "/dev/kmem", "/dev/port", "/dev/sda", "/dev/vda", "/dev/kvm", "/dev/fuse", "/dev/loop0", "/dev/loop-control", "/dev/kmsg", "/dev/mapper"} {
		if _, err := os.Lstat(path); err == nil {
			escaped("%s is there", path)
		}
	}
}

// connect connects to an abstract socket of the node.
func connect(name string) {
	c, err := net.Dial("unix", name)
	if err == nil {
		c.Close()
		escaped("connected to %s", name)
		return
	}
	fmt.Println(err)
}

// kill signals a process of the node by its ID there.
func kill(pid string) {
	n, err := strconv.Atoi(pid)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := unix.Kill(n, 0); err == nil {
		escaped("process %d can be signalled", n)
	}
	if _, err := unix.PidfdOpen(n, 0); err == nil {
		escaped("process %d can be opened", n)
	}
	if err := unix.PtraceAttach(n); err == nil {
		escaped("process %d can be traced", n)
	}
}

// links lists the network interfaces, and listens on all by a raw socket.
func links() {
	all, err := net.Interfaces()
	if err != nil {
		fmt.Println(err)
	}
	for _, i := range all {
		// Kernels make some tunnels in every namespace.
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			escaped("interface %s", i.Name)
		}
	}
}

// suid runs a program that has the set-user-ID bit and is root's.
func suid() {
	out, err := exec.Command("/bin/suid", "euid").CombinedOutput()
	if err != nil {
		fmt.Println(err)
	}
	if strings.Contains(string(out), "euid 0\n") {
		escaped("became root: %s", out)
	}
	fmt.Print(string(out))
}
