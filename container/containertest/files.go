package containertest

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

var fileTests = []contractTest{
	{"rootfs", []Feature{Kernel}, testRootfs},
	{"rootfs-layers", []Feature{Kernel}, testLayers},
	{"rootfs-erofs", []Feature{Kernel, EROFS}, testEROFS},
	{"rootfs-readonly", []Feature{Kernel}, testReadonly},
	{"bind", []Feature{Kernel}, testBind},
	{"bind-links", []Feature{Kernel}, testBindLinks},
	{"bind-missing", []Feature{Kernel}, testBindMissing},
	{"tmpfs", []Feature{Kernel}, testTmpfs},
	{"devices", []Feature{Kernel}, testDevices},
	{"device", []Feature{Kernel}, testDevice},
	{"masked", []Feature{Kernel}, testMasked},
	{"readonly-paths", []Feature{Kernel}, testReadonlyPaths},
	{"standard-mounts", []Feature{Kernel}, testStandardMounts},
}

func bind(source, target string, options ...string) option {
	return func(s *container.Spec) {
		s.OCI.Mounts = append(s.OCI.Mounts, specs.Mount{
			Destination: target, Type: "bind", Source: source, Options: append([]string{"rbind"}, options...),
		})
	}
}

func testRootfs(h *harness) {
	equal(h, "image's file", h.output([]string{"read", "/etc/motd"}), "from the image\n")
	h.output([]string{"write", "/etc/motd", "changed"})
	h.output([]string{"write", "/data/new", "made"})
	equal(h, "image's file after another container wrote it", h.output([]string{"read", "/etc/motd"}), "from the image\n")
	if _, err := os.Stat(filepath.Join(h.image.Dir, "data/new")); !os.IsNotExist(err) {
		h.Errorf("the image changed: %v", err)
	}
	root := h.output([]string{"stat", "/", "/tmp"})
	equal(h, "mode of /", strings.Fields(lineWith(h, root, "/ "))[0], "40755")
	equal(h, "mode of /tmp", strings.Fields(lineWith(h, root, "/tmp "))[0], "41777")
}

func testLayers(h *harness) {
	dir := h.TempDir()
	must(h, os.MkdirAll(filepath.Join(dir, "etc"), 0o755))
	must(h, os.Chmod(dir, 0o755))
	must(h, os.WriteFile(filepath.Join(dir, "etc/motd"), []byte("from above\n"), 0o644))
	out := h.output([]string{"read", "/etc/motd", "/etc/plain"}, func(s *container.Spec) { s.Rootfs.Dirs = []string{dir, h.image.Dir} })
	equal(h, "files", out, "from above\nno program\n")
}

func testEROFS(h *harness) {
	file := h.cfg.EROFS(h, h.image.Dir)
	fromFile := func(s *container.Spec) { s.Rootfs = container.Rootfs{EROFS: file} }
	equal(h, "image's file", h.output([]string{"read", "/etc/motd"}, fromFile), "from the image\n")
	h.output([]string{"write", "/etc/motd", "changed"}, fromFile)
	equal(h, "user's file", h.output([]string{"read", "/data/mine"}, fromFile, user(1000, 1001)), "app's")
}

func readonly(s *container.Spec) { s.OCI.Root.Readonly = true }

func testReadonly(h *harness) {
	if code, out := h.run([]string{"write", "/etc/motd", "x"}, readonly); code == 0 || !strings.Contains(out, "read-only file system") {
		h.Errorf("%d %s", code, out)
	}
	h.output([]string{"write", "/dev/shm/x", "x"}, readonly)
	h.output([]string{"write", "/data/x", "x"}, readonly, func(s *container.Spec) {
		s.OCI.Mounts = append(s.OCI.Mounts, specs.Mount{Destination: "/data", Type: "tmpfs", Source: "tmpfs"})
	})
}

func testBind(h *harness) {
	dir := filepath.Join(h.dir, "shared")
	must(h, os.Mkdir(dir, 0o777))
	must(h, os.Chmod(dir, 0o777))
	must(h, os.WriteFile(filepath.Join(dir, "seen"), []byte("by the container"), 0o644))
	equal(h, "file", h.output([]string{"read", "/mnt/deep/seen"}, bind(dir, "/mnt/deep")), "by the container")
	h.output([]string{"write", "/mnt/deep/made", "inside"}, bind(dir, "/mnt/deep"))
	data, err := os.ReadFile(filepath.Join(dir, "made"))
	must(h, err)
	equal(h, "written", string(data), "inside")
	if code, out := h.run([]string{"write", "/mnt/deep/made", "x"}, bind(dir, "/mnt/deep", "ro")); code == 0 {
		h.Errorf("wrote to a read-only mount: %s", out)
	}
	equal(h, "single file", h.output([]string{"read", "/etc/one"}, bind(h.file("one", "1"), "/etc/one", "ro")), "1")
}

// A link of the image is followed inside the image: an absolute one starts at the container's root.
func testBindLinks(h *harness) {
	dir := h.TempDir()
	must(h, os.Chmod(dir, 0o755))
	must(h, os.Mkdir(filepath.Join(dir, "real"), 0o755))
	must(h, os.Symlink("/real", filepath.Join(dir, "abs")))
	must(h, os.Symlink("../../../../real", filepath.Join(dir, "rel")))
	for _, link := range []string{"/abs", "/rel"} {
		out := h.output([]string{"list", "/real"}, bind(h.dirWith("x"), link+"/sub"), func(s *container.Spec) { s.Rootfs.Dirs = []string{dir, h.image.Dir} })
		equal(h, "entries of /real", out, "sub\n")
	}
	if _, err := os.Stat("/real"); err == nil {
		h.Error("the mount point was made on the node")
	}
}

func (h *harness) dirWith(name string) string {
	dir, err := os.MkdirTemp(h.dir, "with")
	must(h, err)
	must(h, os.Chmod(dir, 0o755))
	must(h, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	return dir
}

func testBindMissing(h *harness) {
	spec := h.spec([]string{"sleep"}, bind("/does/not/exist", "/mnt"))
	_, err := h.rt.Start(h.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), "/does/not/exist") || holdfast.KindOf(err) == nil {
		h.Errorf("%v (kind %v)", err, holdfast.KindOf(err))
	}
	if _, there := h.list()[spec.ID]; there {
		h.Error("the container is listed")
	}
}

func testTmpfs(h *harness) {
	out := h.output([]string{"read", "/proc/self/mountinfo"}, func(s *container.Spec) {
		s.OCI.Mounts = append(s.OCI.Mounts, specs.Mount{
			Destination: "/scratch", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec", "size=1024k", "mode=1777"},
		})
	})
	for line := range strings.Lines(out) {
		if strings.Contains(line, " /scratch ") {
			for _, want := range []string{"nosuid", "nodev", "noexec", "tmpfs", "size=1024k"} {
				if !strings.Contains(line, want) {
					h.Errorf("no %s: %s", want, line)
				}
			}
			return
		}
	}
	h.Errorf("not mounted:\n%s", out)
}

func testDevices(h *harness) {
	out := h.output([]string{"stat", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr"})
	for name, want := range map[string]string{
		"null": "20666 0 0 1:3", "zero": "20666 0 0 1:5", "full": "20666 0 0 1:7", "random": "20666 0 0 1:8", "urandom": "20666 0 0 1:9", "tty": "20666 0 0 5:0",
	} {
		// Bound device nodes of the host keep its owner, which a user namespace does not show.
		got := strings.Fields(lineWith(h, out, "/dev/"+name+" "))
		equal(h, name, got[0]+" "+got[3], strings.Fields(want)[0]+" "+strings.Fields(want)[3])
	}
	equal(h, "ptmx is a link or a device", strings.HasPrefix(lineWith(h, out, "/dev/ptmx "), "120777") || strings.HasPrefix(lineWith(h, out, "/dev/ptmx "), "20666"), true)
	h.output([]string{"write", "/dev/null", "x"})
	h.output([]string{"write", "/dev/stdout", "x"})
	h.output([]string{"write", "/dev/stdout", "x"}, user(1000, 1000))
}

func testDevice(h *harness) {
	mode := os.FileMode(0o666)
	out := h.output([]string{"stat", "/dev/mine"}, func(s *container.Spec) {
		s.OCI.Linux.Devices = append(s.OCI.Linux.Devices, specs.LinuxDevice{Path: "/dev/mine", Type: "c", Major: 1, Minor: 5, FileMode: &mode})
		major, minor := int64(1), int64(5)
		s.OCI.Linux.Resources.Devices = append(s.OCI.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rwm"})
	})
	fields := strings.Fields(lineWith(h, out, "/dev/mine "))
	equal(h, "device", fields[0]+" "+fields[3], "20666 1:5")
}

// Which of the paths exist depends on the kernel.
func testMasked(h *harness) {
	seen := 0
	for _, path := range container.DefaultSpec().Linux.MaskedPaths {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		seen++
		command := "read"
		if info.IsDir() {
			command = "list"
		}
		equal(h, path, h.output([]string{command, path}), "")
	}
	if seen == 0 {
		h.Error("this kernel has none of the masked paths")
	}
}

func testReadonlyPaths(h *harness) {
	for _, path := range []string{"/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/net/ipv4/ip_forward", "/proc/sysrq-trigger"} {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if code, out := h.run([]string{"write", path, "x"}); code == 0 || !strings.Contains(out, "read-only file system") && !strings.Contains(out, "permission denied") {
			h.Errorf("%s: %d %s", path, code, out)
		}
	}
}

func testStandardMounts(h *harness) {
	out := h.output([]string{"read", "/proc/self/mountinfo"})
	for _, want := range []string{" /proc ", " /dev ", " /dev/pts ", " /sys ", " /dev/mqueue ", " /dev/shm ", " /sys/fs/cgroup"} {
		if !strings.Contains(out, want) {
			h.Errorf("%s is not mounted:\n%s", want, out)
		}
	}
	if strings.Contains(out, h.image.Dir+" ") {
		h.Errorf("the node's mounts show:\n%s", out)
	}
	code, text := h.run([]string{"write", "/sys/kernel/mm/ksm/run", "0"})
	if code == 0 {
		h.Errorf("wrote to /sys: %s", text)
	}
}
