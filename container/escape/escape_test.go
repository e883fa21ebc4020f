//go:build linux

package escape

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container"
)

// attacks are the published ways out; the source of each is with its function.
var attacks = []struct {
	name string
	run  func(a *arena)
	// open tells of targets that are known to be open to it, and why: there the attack is not made.
	open map[string]string
}{
	{"CVE-2016-9962", execDescriptors, nil},
	{"CVE-2019-5736", overwriteRuntime, nil},
	{"CVE-2019-19921", procLink, nil},
	{"CVE-2021-30465", swapMountPoint, nil},
	{"CVE-2022-0811", sysctlInjection, nil},
	{"CVE-2022-0492", writes, nil},
	{"CVE-2024-21626", directoryDescriptor, nil},
	{"CVE-2025-31133", maskByLink, nil},
	{"CVE-2025-52565", consoleByLink, nil},
	{"CVE-2025-52881", mountOverProc, nil},
	{"CVE-2020-15257", abstractSocket, nil},
	{"shocker", openByHandle, nil},
	{"calls", func(a *arena) { a.run([]string{"calls"}) }, nil},
	{"calls-of-user", func(a *arena) { a.run([]string{"calls"}, asUser) }, nil},
	{"devices", devices, nil},
	{"processes", func(a *arena) { a.run([]string{"kill", fmt.Sprint(os.Getpid())}) }, nil},
	{"interfaces", func(a *arena) { a.run([]string{"links"}) }, nil},
	{"set-user-id", setUserID, nil},
	{"mounts", func(a *arena) { a.run([]string{"mounts", a.secret}) }, nil},
	{"passwd-pipe", passwdPipe, nil},
	{"passwd-link", passwdLink, nil},
	{"device-in-image", deviceInImage, nil},
}

func TestEscapes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	image := newImage(t)
	for _, target := range targets(t) {
		t.Run(target.name, func(t *testing.T) {
			for _, attack := range attacks {
				t.Run(attack.name, func(t *testing.T) {
					if why, open := attack.open[target.name]; open {
						t.Skip("known to be open: " + why)
					}
					attack.run(newArena(t, target, image))
				})
			}
		})
	}
}

// CVE-2016-9962: a process in the container looks at one that joins it, before that gave up what it holds of the node.
// https://github.com/opencontainers/runc/commit/50a19c6ff828c58e5dab13830bd3dacde268afe5
func execDescriptors(a *arena) {
	id := a.background([]string{"prowl", a.secret}, func(s *container.Spec) {
		caps := append([]string{"CAP_SYS_PTRACE"}, container.DefaultCapabilities...)
		s.OCI.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	})
	for range 15 {
		a.exec(id, container.ExecSpec{Args: []string{"/bin/attack", "exit"}})
	}
	a.finish(id)
}

// CVE-2019-5736: the runtime's binary, which /proc/<pid>/exe shows while it joins the container, is overwritten. A
// script whose interpreter is /proc/self/exe keeps it there. https://www.openwall.com/lists/oss-security/2019/02/11/2
func overwriteRuntime(a *arena) {
	check := a.unchanged(a.target.binary)
	layer := a.layer()
	a.must(os.WriteFile(filepath.Join(layer, "evil"), []byte("#!/proc/self/exe\n"), 0o755))
	id := a.background([]string{"prowl", a.secret}, over(layer))
	for range 15 {
		a.exec(id, container.ExecSpec{Args: []string{"/evil"}})
		a.exec(id, container.ExecSpec{Args: []string{"/bin/attack", "exit"}})
	}
	a.finish(id)
	if _, refused := a.attack(nil, over(layer), func(s *container.Spec) { s.OCI.Process.Args = []string{"/evil"} }); refused {
		a.Log("the script does not start")
	}
	check()
}

// CVE-2019-19921: /proc of the image is a link, so that masks and labels go to a directory of the attacker's.
// https://github.com/opencontainers/runc/security/advisories/GHSA-fh74-hm69-rqjw
func procLink(a *arena) {
	for _, to := range []string{"/tmp/fake", "tmp/fake", "/dev/shm", "/sys"} {
		layer := a.layer()
		a.must(os.MkdirAll(filepath.Join(layer, "tmp/fake"), 0o777))
		a.must(whiteout(layer, "proc"))
		dir := a.layer()
		a.must(os.Symlink(to, filepath.Join(dir, "proc")))
		a.attack([]string{"proc"}, over(layer), over(dir))
	}
}

// whiteout hides a name of the layers below dir.
func whiteout(dir, name string) error { return unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR, 0) }

// CVE-2021-30465: the place of a mount is swapped for a link while the runtime mounts there.
// https://github.com/opencontainers/runc/security/advisories/GHSA-c3xm-pvg7-gh7r
func swapMountPoint(a *arena) {
	shared, payload := a.layer(), a.layer()
	a.must(os.Chmod(shared, 0o777))
	a.must(os.MkdirAll(filepath.Join(shared, "place/sub"), 0o777))
	a.must(os.Chmod(filepath.Join(shared, "place"), 0o777))
	a.must(os.Symlink("../../../../../../../../../..", filepath.Join(shared, "link")))
	a.must(os.WriteFile(filepath.Join(payload, "payload"), nil, 0o644))
	if err := unix.Chown(shared, 0, 0); err != nil {
		a.Fatal(err)
	}
	id := a.background([]string{"swap", "/vol/place", "/vol/link"}, bind(shared, "/vol"))
	before := mountsOf(a, payload)
	for i := range 12 {
		args := []string{"mounts", a.secret}
		if i%2 == 0 {
			a.attack(args, bind(shared, "/vol"), bind(payload, "/vol/place/sub"))
		} else {
			a.attack(args, bind(shared, "/vol"), func(s *container.Spec) {
				s.OCI.Mounts = append(s.OCI.Mounts, specs.Mount{Destination: "/vol/place/sub", Type: "tmpfs", Source: "tmpfs"})
			})
		}
	}
	a.finish(id)
	if after := mountsOf(a, payload); after != before {
		a.Errorf("%d mounts of the payload on the node, before %d", after, before)
	}
	if _, err := os.Stat("/sub"); err == nil {
		a.Error("the mount point was made on the node")
	}
}

func mountsOf(a *arena, dir string) int {
	text, err := os.ReadFile("/proc/self/mountinfo")
	a.must(err)
	return strings.Count(string(text), dir)
}

// CVE-2022-0811: a sysctl that is not the container's own comes in by its name or in the value of another.
// https://github.com/cri-o/cri-o/security/advisories/GHSA-6x2m-w449-qwx7
func sysctlInjection(a *arena) {
	defer a.unchanged("/proc/sys/kernel/core_pattern")()
	defer a.unchanged("/proc/sys/vm/swappiness")()
	for name, value := range map[string]string{
		"kernel.core_pattern":                              "|/evil",
		"kernel/core_pattern":                              "|/evil",
		"kernel.shm_rmid_forced":                           "1+kernel.core_pattern=|/evil",
		"kernel.shm_rmid_forced ":                          "1",
		"kernel.shm_rmid_forced=1\nkernel.core_pattern":    "|/evil",
		"net.ipv4.ip_forward/../../../kernel/core_pattern": "|/evil",
		"net/../kernel/core_pattern":                       "|/evil",
		"fs.mqueue/../../kernel/core_pattern":              "|/evil",
		"vm.swappiness":                                    "1",
		"net.core.nothing":                                 "1",
	} {
		_, refused := a.attack([]string{"exit"}, func(s *container.Spec) { s.OCI.Linux.Sysctl = map[string]string{name: value} })
		if !refused {
			a.Errorf("sysctl %q = %q was taken", name, value)
		}
	}
}

// CVE-2022-0492 and its like: release_agent, core_pattern, modprobe, uevent_helper, sysrq.
// https://unit42.paloaltonetworks.com/cve-2022-0492-cgroups/
func writes(a *arena) {
	defer a.unchanged("/proc/sys/kernel/core_pattern")()
	a.run([]string{"writes"})
	a.run([]string{"writes"}, func(s *container.Spec) { // masks gone, as systempaths=unconfined has it
		s.OCI.Linux.MaskedPaths = nil
	})
	a.run([]string{"proc"})
}

// CVE-2024-21626: the working directory is a descriptor that the runtime forgot to close.
// https://github.com/opencontainers/runc/security/advisories/GHSA-xr7r-f8xq-vfvv
func directoryDescriptor(a *arena) {
	for fd := range 24 {
		cwd := fmt.Sprintf("/proc/self/fd/%d", fd)
		a.attack([]string{"climb", a.secret}, func(s *container.Spec) { s.OCI.Process.Cwd = cwd })
	}
	layer := a.layer()
	a.must(os.Symlink("/proc/self/fd/7", filepath.Join(layer, "seven")))
	a.must(os.Symlink("/proc/1/fd/8", filepath.Join(layer, "eight")))
	for _, cwd := range []string{"/seven", "/eight", "/seven/../../..", "/proc/self/cwd/../../.."} {
		a.attack([]string{"climb", a.secret}, over(layer), func(s *container.Spec) { s.OCI.Process.Cwd = cwd })
	}
	id := a.background([]string{"prowl", a.secret}, over(layer))
	for fd := range 24 {
		a.exec(id, container.ExecSpec{Args: []string{"/bin/attack", "climb", a.secret}, WorkingDir: fmt.Sprintf("/proc/self/fd/%d", fd)})
	}
	a.exec(id, container.ExecSpec{Args: []string{"/bin/attack", "climb", a.secret}, WorkingDir: "/seven"})
	a.finish(id)
}

// ownDev takes /dev from the image, not from the runtime.
func ownDev(s *container.Spec) {
	var kept []specs.Mount
	for _, m := range s.OCI.Mounts {
		if !strings.HasPrefix(m.Destination, "/dev") {
			kept = append(kept, m)
		}
	}
	s.OCI.Mounts = kept
}

// CVE-2025-31133: files are masked by a bind of the container's own /dev/null, which the image made a link.
// https://github.com/opencontainers/runc/security/advisories/GHSA-9493-h29p-rfm2
func maskByLink(a *arena) {
	defer a.unchanged("/proc/sys/kernel/core_pattern")()
	for _, to := range []string{"/proc/sys/kernel/core_pattern", "../proc/sys/kernel/core_pattern"} {
		layer := a.layer()
		a.must(os.MkdirAll(filepath.Join(layer, "dev"), 0o755))
		a.must(os.Symlink(to, filepath.Join(layer, "dev/null")))
		a.attack([]string{"put", "|/evil", "/proc/timer_list", "/proc/kcore", "/proc/keys", "/proc/interrupts", "/dev/null"}, over(layer), ownDev)
	}
}

// CVE-2025-52565: /dev/console is a bind of a terminal whose path the image made a link.
// https://github.com/opencontainers/runc/security/advisories/GHSA-qw9x-cqjg-4p4g
func consoleByLink(a *arena) {
	defer a.unchanged("/proc/sys/kernel/core_pattern")()
	layer := a.layer()
	a.must(os.MkdirAll(filepath.Join(layer, "dev/pts"), 0o755))
	a.must(os.Symlink("/proc/sys/kernel/core_pattern", filepath.Join(layer, "dev/console")))
	for i := range 4 {
		a.must(os.Symlink("/proc/sys/kernel/core_pattern", filepath.Join(layer, "dev/pts", fmt.Sprint(i))))
	}
	terminal := func(s *container.Spec) { s.OCI.Process.Terminal = true }
	for _, options := range [][]option{{over(layer), terminal}, {over(layer), ownDev, terminal}} {
		a.attack([]string{"put", "|/evil", "/dev/console", "/dev/pts/0", "/dev/pts/1", "/dev/tty"}, options...)
	}
}

// CVE-2025-52881: what the runtime writes into /proc goes elsewhere, because a volume covers a part of it.
// https://github.com/opencontainers/runc/security/advisories/GHSA-cgrx-mc8f-2prm
func mountOverProc(a *arena) {
	defer a.unchanged("/proc/sys/kernel/core_pattern")()
	trap := a.layer()
	for _, path := range []string{"net/ipv4", "sys/net/ipv4", "self/attr", "thread-self/attr"} {
		a.must(os.MkdirAll(filepath.Join(trap, path), 0o777))
	}
	for _, link := range []string{"net/ipv4/ip_unprivileged_port_start", "sys/net/ipv4/ip_unprivileged_port_start", "self/attr/exec", "self/oom_score_adj", "thread-self/oom_score_adj"} {
		a.must(os.Symlink("/proc/sys/kernel/core_pattern", filepath.Join(trap, link)))
	}
	score := 100
	for _, target := range []string{"/proc/sys", "/proc/self", "/proc/thread-self", "/proc/1", "/proc/self/attr", "/proc/sys/net", "/proc/../proc/sys"} {
		_, refused := a.attack([]string{"writes"}, bind(trap, target), func(s *container.Spec) {
			s.OCI.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}
			s.OCI.Process.OOMScoreAdj = &score
		})
		if !refused && strings.HasPrefix(a.target.name, "own") {
			a.Errorf("a mount at %s was taken", target)
		}
	}
	layer := a.layer() // and by a link that leads there
	a.must(os.Symlink("/proc/sys", filepath.Join(layer, "elsewhere")))
	_, refused := a.attack([]string{"writes"}, over(layer), bind(trap, "/elsewhere"))
	if !refused && strings.HasPrefix(a.target.name, "own") {
		a.Error("a mount at a link to /proc/sys was taken")
	}
}

// CVE-2020-15257: abstract sockets belong to the network namespace, not to the file system.
// https://github.com/containerd/containerd/security/advisories/GHSA-36xw-fx78-c5r4
func abstractSocket(a *arena) { a.run([]string{"connect", listen(a)}) }

// Shocker (2014): inode 2 of a file system that a volume shows is opened by its handle.
// https://github.com/gabrtv/shocker
func openByHandle(a *arena) { a.run([]string{"shocker", "/vol"}, bind(a.layer(), "/vol")) }

func asUser(s *container.Spec) {
	s.OCI.Process.User = specs.User{UID: 1000, GID: 1000}
}

// A set-user-ID program of the image gives a plain user nothing while no_new_privs is on.
// https://docs.kernel.org/userspace-api/no_new_privs.html
func setUserID(a *arena) {
	if out := a.run([]string{"suid"}, asUser); !strings.Contains(out, "euid 1000") {
		a.Errorf("the program did not run: %s", out)
	}
}

// An image whose user file is a pipe would hold up whoever reads it.
func passwdPipe(a *arena) {
	layer := a.layer()
	a.must(os.Mkdir(filepath.Join(layer, "etc"), 0o755))
	a.must(unix.Mkfifo(filepath.Join(layer, "etc/passwd"), 0o644))
	if _, refused := a.attack([]string{"euid"}, over(layer), func(s *container.Spec) { s.User = "somebody" }); !refused {
		a.Error("a user was found in a pipe")
	}
}

// A link in the image's user file must not lead to the node's (CVE-2019-14271 is of this class).
func passwdLink(a *arena) {
	users := filepath.Join(a.dir, "users")
	a.must(os.WriteFile(users, []byte("nodeonly:x:4242:4242::/:/bin/sh\n"), 0o644))
	for _, to := range []string{users, strings.Repeat("../", 30) + users} {
		layer := a.layer()
		a.must(os.Mkdir(filepath.Join(layer, "etc"), 0o755))
		a.must(os.Symlink(to, filepath.Join(layer, "etc/passwd")))
		if _, refused := a.attack([]string{"euid"}, over(layer), func(s *container.Spec) { s.User = "nodeonly" }); !refused {
			a.Error("a user of the node's file was found")
		}
	}
}

// Memory and disks through device files made in the container (CAP_MKNOD is among the default capabilities).
// https://man7.org/linux/man-pages/man7/capabilities.7.html
func devices(a *arena) {
	allowed := ""
	if a.target.name == "runc" {
		allowed = "10:200" // runc allows /dev/net/tun up to 1.1, which needs CAP_NET_ADMIN to be of use
	}
	a.run([]string{"devices", allowed})
}

// A device file that the image brings must not open: its layers are not nodev, so the device cgroup or the user
// namespace has to refuse it.
func deviceInImage(a *arena) {
	layer := a.layer()
	a.must(unix.Mknod(filepath.Join(layer, "memory"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 1))))
	a.must(os.Chmod(filepath.Join(layer, "memory"), 0o666))
	out := a.run([]string{"put", "", "/memory"}, over(layer))
	if !strings.Contains(out, "operation not permitted") && !strings.Contains(out, "permission denied") {
		a.Errorf("the memory device: %s", out)
	}
}
