package prog

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kernel commands ask the kernel, so that only a real container answers.
var kernel = map[string]command{
	"user": user, "status": status, "cwd": cwd, "hostname": hostname, "read": read, "write": write, "stat": stat,
	"list": list, "alloc": alloc, "spin": spin, "fork": fork, "orphan": orphan, "fds": fds, "rlimit": rlimit,
	"terminal": terminal, "resized": resized, "tick": tick, "call": call, "oomscore": oomScore,
}

// user: uid, gid, groups, umask
func user(p Process, _ []string) int {
	groups, err := os.Getgroups()
	slices.Sort(groups)
	mask := syscall.Umask(0)
	fmt.Fprintf(p.Stdout, "%d %d %v %#o\n", os.Getuid(), os.Getgid(), groups, mask)
	return fail(p, err)
}

// status FIELD…: of /proc/self/status
func status(p Process, fields []string) int {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return fail(p, err)
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if slices.Contains(fields, name) {
			fmt.Fprintln(p.Stdout, name, strings.Join(strings.Fields(value), " "))
		}
	}
	return 0
}

func cwd(p Process, _ []string) int {
	dir, err := os.Getwd()
	fmt.Fprintln(p.Stdout, dir)
	return fail(p, err)
}

func hostname(p Process, _ []string) int {
	name, err := os.Hostname()
	fmt.Fprintln(p.Stdout, name)
	return fail(p, err)
}

// read PATH…
func read(p Process, paths []string) int {
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return fail(p, err)
		}
		if _, err := p.Stdout.Write(data); err != nil {
			return 1
		}
	}
	return 0
}

// write PATH TEXT
func write(p Process, args []string) int {
	f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fail(p, err)
	}
	_, err = f.WriteString(args[1])
	return fail(p, err)
}

// stat PATH…: mode, uid, gid, device
func stat(p Process, paths []string) int {
	for _, path := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fail(p, fmt.Errorf("%s: %w", path, err))
		}
		fmt.Fprintf(p.Stdout, "%s %o %d %d %d:%d\n", path, st.Mode, st.Uid, st.Gid, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	return 0
}

// list DIR: names, sorted
func list(p Process, args []string) int {
	entries, err := os.ReadDir(args[0])
	for _, e := range entries {
		fmt.Fprintln(p.Stdout, e.Name())
	}
	return fail(p, err)
}

// alloc MIB: touches so much memory, then sleeps
func alloc(p Process, args []string) int {
	mib, err := strconv.Atoi(args[0])
	if err != nil {
		return 64
	}
	block, err := unix.Mmap(-1, 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fail(p, err)
	}
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	return sleep(p, nil)
}

// spin DURATION: of processor time
func spin(p Process, args []string) int {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return 64
	}
	var use unix.Rusage
	for time.Duration(use.Utime.Nano()+use.Stime.Nano()) < d {
		if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
			return fail(p, err)
		}
	}
	return sleep(p, nil)
}

// fork N: starts N sleeping children and prints how many it got
func fork(p Process, args []string) int {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return 64
	}
	started := 0
	for range n {
		child := exec.Command(p.Args[0], "ignore")
		if err := child.Start(); err != nil {
			fmt.Fprintln(p.Stderr, "error:", err)
			break
		}
		started++
	}
	fmt.Fprintln(p.Stdout, "started", started)
	return sleep(p, nil)
}

// orphan: leaves a dead grandchild to PID 1 and waits until it is reaped
func orphan(p Process, args []string) int {
	if len(args) > 0 { // the child: starts one that ends, and does not wait for it
		child := exec.Command(p.Args[0], "exit", "0")
		if err := child.Start(); err != nil {
			return fail(p, err)
		}
		fmt.Fprintln(p.Stdout, child.Process.Pid)
		return 0
	}
	out, err := exec.Command(p.Args[0], "orphan", "child").Output()
	if err != nil {
		return fail(p, err)
	}
	pid := strings.TrimSpace(string(out))
	for range 1000 {
		if _, err := os.Stat("/proc/" + pid); os.IsNotExist(err) {
			fmt.Fprintln(p.Stdout, "reaped")
			return 0
		}
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Fprintln(p.Stdout, "zombie")
	return 1
}

// fds: open file descriptors, their mode and what they are, but for the one that this call and those that Go's poller
// opens
func fds(p Process, _ []string) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fail(p, err)
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.Contains(target, "anon_inode:[event") || strings.HasSuffix(target, "/fd") {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return fail(p, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fail(p, err)
		}
		fmt.Fprintf(p.Stdout, "%d %o %s\n", fd, st.Mode&unix.S_IFMT, target)
	}
	return 0
}

// rlimit: soft and hard limit of open files
func rlimit(p Process, _ []string) int {
	// Go raises the soft limit as it starts and gives the old one to children only: /proc tells the truth for the hard.
	data, err := os.ReadFile("/proc/self/limits")
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "Max core file size") || strings.HasPrefix(line, "Max open files") {
			fmt.Fprintln(p.Stdout, strings.Join(strings.Fields(line), " "))
		}
	}
	return fail(p, err)
}

// terminal: whether standard input is one, its size, and its name
func terminal(p Process, _ []string) int {
	size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
	if err != nil {
		return fail(p, err)
	}
	name, err := os.Readlink("/proc/self/fd/0")
	fmt.Fprintln(p.Stdout, "terminal", size.Row, size.Col, name)
	return fail(p, err)
}

// resized ROWS: waits for SIGWINCH until the terminal has so many, and prints its size
func resized(p Process, args []string) int {
	fmt.Fprintln(p.Stdout, "ready")
	for range p.Signals {
		size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			return fail(p, err)
		}
		if strconv.Itoa(int(size.Row)) == args[0] {
			break
		}
	}
	return terminal(p, nil)
}

// tick: a line every few milliseconds
func tick(p Process, _ []string) int {
	for i := 0; ; i++ {
		fmt.Fprintln(p.Stdout, i)
		time.Sleep(2 * time.Millisecond)
	}
}

func oomScore(p Process, _ []string) int { return read(p, []string{"/proc/self/oom_score_adj"}) }

// call NAME: a system call that containers are denied; prints its error
func call(p Process, args []string) int {
	calls := map[string]func() error{
		"unshare-user": func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"mount":        func() error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") },
		"chown":        func() error { return unix.Chown("/tmp", 1, 1) },
		"sethostname":  func() error { return unix.Sethostname([]byte("other")) },
		"keyctl":       func() error { _, err := unix.KeyctlInt(unix.KEYCTL_SESSION_TO_PARENT, 0, 0, 0, 0); return err },
		"mkdir":        func() error { return unix.Mkdir("/tmp/made", 0o755) },
	}
	if calls[args[0]] == nil {
		return 64
	}
	fmt.Fprintln(p.Stdout, args[0], calls[args[0]]())
	return 0
}
