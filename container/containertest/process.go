package containertest

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast/container"
)

var processTests = []contractTest{
	{"environment", nil, testEnvironment},
	{"directory", []Feature{Kernel}, testDirectory},
	{"path", []Feature{Kernel}, testPath},
	{"user", []Feature{Kernel}, testUser},
	{"capabilities", []Feature{Kernel}, testCapabilities},
	{"capabilities-of-user", []Feature{Kernel}, testCapabilitiesOfUser},
	{"seccomp", []Feature{Kernel}, testSeccomp},
	{"no-new-privileges", []Feature{Kernel}, testNoNewPrivileges},
	{"hostname", []Feature{Kernel}, testHostname},
	{"rlimits", []Feature{Kernel}, testRlimits},
	{"oom-score", []Feature{Kernel}, testOOMScore},
	{"open-files", []Feature{Kernel}, testOpenFiles},
	{"own-processes", []Feature{Kernel}, testOwnProcesses},
	{"host-processes", []Feature{Kernel}, testHostProcesses},
	{"init", []Feature{Kernel, Init}, testInit},
	{"userns", []Feature{UserNS}, testUserNS},
	{"sysctl", []Feature{Kernel}, testSysctl},
}

func testEnvironment(h *harness) {
	out := h.output([]string{"env", "A", "B", "C"}, func(s *container.Spec) { s.OCI.Process.Env = []string{"A=1", "B=x=y z"} })
	equal(h, "environment", out, "1\nx=y z\n")
}

func testDirectory(h *harness) {
	equal(h, "default", h.output([]string{"cwd"}), "/\n")
	equal(h, "given", h.output([]string{"cwd"}, func(s *container.Spec) { s.OCI.Process.Cwd = "/data" }), "/data\n")
	equal(h, "made", h.output([]string{"cwd"}, func(s *container.Spec) { s.OCI.Process.Cwd = "/new/dir" }), "/new/dir\n")
}

// A program without a slash is found along the container's own PATH.
func testPath(h *harness) {
	out := h.output([]string{"cwd"}, func(s *container.Spec) { s.OCI.Process.Args[0] = "prog" })
	equal(h, "output", out, "/\n")
}

func user(uid, gid uint32, groups ...uint32) option {
	return func(s *container.Spec) { s.OCI.Process.User = specs.User{UID: uid, GID: gid, AdditionalGids: groups} }
}

func testUser(h *harness) {
	mask := uint32(0o27)
	out := h.output([]string{"user"}, user(1000, 1001, 2000, 3000), func(s *container.Spec) { s.OCI.Process.User.Umask = &mask })
	equal(h, "user", strings.ReplaceAll(out, "[1001 2000", "[2000"), "1000 1001 [2000 3000] 027\n")
	equal(h, "own file", h.output([]string{"read", "/data/mine"}, user(1000, 1001)), "app's")
	if code, _ := h.run([]string{"read", "/data/mine"}, user(1001, 1001)); code == 0 {
		h.Error("another user reads the file")
	}
}

func testCapabilities(h *harness) {
	equal(h, "default", h.output([]string{"status", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}),
		"CapInh 0000000000000000\nCapPrm 00000000a80425fb\nCapEff 00000000a80425fb\nCapBnd 00000000a80425fb\nCapAmb 0000000000000000\n")
	none := h.output([]string{"status", "CapEff", "CapBnd"}, func(s *container.Spec) { s.OCI.Process.Capabilities = &specs.LinuxCapabilities{} })
	equal(h, "none", none, "CapEff 0000000000000000\nCapBnd 0000000000000000\n")
	equal(h, "chown", h.output([]string{"call", "chown"}), "chown <nil>\n")
	out := h.output([]string{"call", "chown"}, func(s *container.Spec) {
		s.OCI.Process.Capabilities = &specs.LinuxCapabilities{}
		s.Rootfs.Dirs = []string{h.image.Dir}
	})
	equal(h, "chown without capabilities", out, "chown operation not permitted\n")
}

func testCapabilitiesOfUser(h *harness) {
	out := h.output([]string{"status", "CapEff", "CapPrm", "CapAmb"}, user(1000, 1000))
	equal(h, "plain user", out, "CapPrm 0000000000000000\nCapEff 0000000000000000\nCapAmb 0000000000000000\n")
	out = h.output([]string{"status", "CapEff", "CapAmb"}, user(1000, 1000), func(s *container.Spec) {
		one := []string{"CAP_NET_BIND_SERVICE"}
		s.OCI.Process.Capabilities = &specs.LinuxCapabilities{Bounding: one, Effective: one, Permitted: one, Inheritable: one, Ambient: one}
	})
	equal(h, "ambient", out, "CapEff 0000000000000400\nCapAmb 0000000000000400\n")
}

func testSeccomp(h *harness) {
	equal(h, "mode", h.output([]string{"status", "Seccomp"}), "Seccomp 2\n")
	equal(h, "denied", h.output([]string{"call", "unshare-user"}), "unshare-user operation not permitted\n")
	equal(h, "denied", h.output([]string{"call", "keyctl"}), "keyctl operation not permitted\n")
	unconfined := func(s *container.Spec) { s.OCI.Linux.Seccomp = nil }
	equal(h, "unconfined", h.output([]string{"status", "Seccomp"}, unconfined), "Seccomp 0\n")
	errno := uint(95)
	custom := func(s *container.Spec) {
		s.OCI.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &errno},
		}}
	}
	equal(h, "custom", h.output([]string{"call", "mkdir"}, custom), "mkdir operation not supported\n")
	equal(h, "for users", h.output([]string{"status", "Seccomp"}, user(1000, 1000)), "Seccomp 2\n")
}

func testNoNewPrivileges(h *harness) {
	equal(h, "default", h.output([]string{"status", "NoNewPrivs"}), "NoNewPrivs 1\n")
	out := h.output([]string{"status", "NoNewPrivs", "Seccomp"}, func(s *container.Spec) { s.OCI.Process.NoNewPrivileges = false })
	equal(h, "off", out, "NoNewPrivs 0\nSeccomp 2\n")
}

func testHostname(h *harness) {
	out := h.output([]string{"hostname"}, func(s *container.Spec) { s.OCI.Hostname = "box-7" })
	equal(h, "hostname", out, "box-7\n")
	equal(h, "cannot change it", h.output([]string{"call", "sethostname"}), "sethostname operation not permitted\n")
}

func testRlimits(h *harness) {
	out := h.output([]string{"rlimit"}, func(s *container.Spec) {
		s.OCI.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 0, Hard: 0}, {Type: "RLIMIT_NOFILE", Soft: 512, Hard: 512}}
	})
	for _, want := range []string{"Max core file size 0 0 bytes", "Max open files 512 512 files"} {
		if !strings.Contains(out, want) {
			h.Errorf("no %q in %q", want, out)
		}
	}
}

func testOOMScore(h *harness) {
	score := 500
	out := h.output([]string{"oomscore"}, func(s *container.Spec) { s.OCI.Process.OOMScoreAdj = &score })
	equal(h, "score", out, "500\n")
}

func testOpenFiles(h *harness) {
	out := h.output([]string{"fds"})
	equal(h, "open files", strings.Count(out, "\n"), 3)
	for line := range strings.Lines(out) {
		var fd, mode, target string
		if n, err := fmt.Sscan(line, &fd, &mode, &target); n < 3 {
			h.Fatal(line, err)
		}
		const fifo, device, socket = "10000", "20000", "140000"
		if mode != fifo && mode != socket && (mode != device || target != "/dev/null") {
			h.Errorf("open: %s", line)
		}
	}
}

func testOwnProcesses(h *harness) {
	equal(h, "PID", lineWith(h, h.output([]string{"status", "Pid", "PPid"}), "Pid "), "1")
	out := h.output([]string{"list", "/proc"})
	equal(h, "processes", strings.Count(out, "\n")-strings.Count(strings.TrimLeft(out, "0123456789\n"), "\n"), 1)
}

func testHostProcesses(h *harness) {
	spec := h.spec([]string{"status", "Pid"})
	opt := h.cfg.Park
	opt.HostPID = true
	sandbox, err := h.rt.Park(h.Context(), opt)
	must(h, err)
	h.ids = append(h.ids, sandbox.ID)
	spec.Sandbox = sandbox.ID
	status, err := h.rt.Start(h.Context(), spec)
	must(h, err)
	equal(h, "exit code", h.exited(spec.ID).ExitCode, 0)
	equal(h, "PID", h.log(spec.ID), fmt.Sprintf("Pid %d\n", status.PID))
}

func testInit(h *harness) {
	withInit := func(s *container.Spec) { s.Init = true }
	equal(h, "orphan", h.output([]string{"orphan"}, withInit), "reaped\n")
	code, _ := h.run([]string{"exit", "17"}, withInit)
	equal(h, "exit code", code, 17)
	id := h.start([]string{"catch", "4"}, withInit).ID
	h.says(id, "ready")
	must(h, h.rt.Signal(h.Context(), id, 1))
	h.says(id, "caught 1")
	must(h, h.rt.Signal(h.Context(), id, 15))
	equal(h, "exit code", h.exited(id).ExitCode, 4)
	out := h.output([]string{"status", "Pid", "CapEff", "Seccomp"}, withInit, user(1000, 1000))
	if strings.Contains(out, "Pid 1\n") || !strings.Contains(out, "CapEff 0000000000000000\nSeccomp 2") {
		h.Errorf("under init: %q", out)
	}
}

func testUserNS(h *harness) {
	sandbox := h.park(h.cfg.Park)
	if sandbox.UIDs == 0 {
		h.Fatal("root in the sandbox is root on the node")
	}
	out := h.output([]string{"read", "/proc/self/uid_map"})
	if fields := strings.Fields(out); len(fields) < 3 || fields[0] != "0" || fields[1] == "0" {
		h.Errorf("uid_map %q", out)
	}
	equal(h, "owner of the image's files", lineWith(h, h.output([]string{"stat", "/data/mine"}), "/data/mine "), "100600 1000 1001 0:0")
	equal(h, "own file", h.output([]string{"read", "/data/mine"}, user(1000, 1001)), "app's")
	opt := h.cfg.Park
	opt.HostUserNS = true
	if sandbox := h.park(opt); sandbox.UIDs != 0 {
		h.Errorf("with the host's user namespace: %+v", sandbox)
	}
}

func testSysctl(h *harness) {
	out := h.output([]string{"read", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/msgmax"}, func(s *container.Spec) {
		s.OCI.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "77", "kernel.msgmax": "4242"}
	})
	equal(h, "values", out, "77\n4242\n")
	for name := range map[string]bool{"kernel.core_pattern": true, "vm.swappiness": true, "kernel.hostname": true, "../vm.swappiness": true, "net/../../sys/vm/swappiness": true} {
		_, err := h.rt.Start(h.Context(), h.spec([]string{"sleep"}, func(s *container.Spec) { s.OCI.Linux.Sysctl = map[string]string{name: "60"} }))
		if err == nil {
			h.Errorf("%s, which is not the container's own, was set", name)
		}
	}
}
