//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
)

func TestParseMount(t *testing.T) {
	for _, tc := range []struct {
		kind    string
		options string
		want    mountOptions
	}{
		{"bind", "rbind,ro,rprivate", mountOptions{bind: true, recursive: true, own: unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY},
			propagation: unix.MS_PRIVATE, propagateTree: true}},
		{"", "bind,rro,nosuid,suid", mountOptions{bind: true, own: unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_NOSUID},
			tree: unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}}},
		{"bind", "idmap,slave", mountOptions{bind: true, idmap: true, propagation: unix.MS_SLAVE}},
		{"bind", "noatime", mountOptions{bind: true, own: unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOATIME, Attr_clr: unix.MOUNT_ATTR__ATIME}}},
		{"tmpfs", "nodev,size=4k,mode=700,huge", mountOptions{own: unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV},
			fs: []string{"size", "4k", "mode", "700", "huge", ""}}},
	} {
		got, err := parseMount(specs.Mount{Destination: "/x", Type: tc.kind, Options: strings.Split(tc.options, ",")})
		if err != nil {
			t.Errorf("%s: %v", tc.options, err)
			continue
		}
		if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", tc.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tc.options, *got, tc.want)
		}
	}
	_, err := parseMount(specs.Mount{Destination: "/x", Type: "bind", Options: []string{"size=4k"}})
	if !errors.Is(err, holdfast.ErrUnsupported) || !strings.Contains(err.Error(), "/x") {
		t.Errorf("file system option of a bind mount: %v", err)
	}
}

func TestParseSysctls(t *testing.T) {
	got, err := parseSysctls(map[string]string{
		"net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/forwarding": "0", "kernel.shmmax": "5", "fs.mqueue.msg_max": "9",
	}, container.ParkOptions{})
	want := [][2]string{{"fs/mqueue/msg_max", "9"}, {"kernel/shmmax", "5"}, {"net/ipv4/conf/eth0.1/forwarding", "0"}, {"net/ipv4/ip_forward", "1"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for name, opt := range map[string]container.ParkOptions{
		"kernel.core_pattern": {}, "vm.swappiness": {}, "net.ipv4.ip_forward": {HostNet: true}, "kernel.sem": {HostIPC: true},
		"net/../kernel/core_pattern": {}, "/net/x": {}, "": {}, "kernel.hostname": {},
	} {
		if _, err := parseSysctls(map[string]string{name: "1"}, opt); !errors.Is(err, holdfast.ErrInvalid) {
			t.Errorf("%s with %+v: %v", name, opt, err)
		}
	}
}

func TestIDRanges(t *testing.T) {
	r := newIDRanges(1000, 10, 3)
	var taken []uint32
	for range 3 {
		first, err := r.take()
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, first)
	}
	if !slices.Equal(taken, []uint32{1000, 1010, 1020}) {
		t.Errorf("taken %v", taken)
	}
	r.share(1010)
	r.drop(1010)
	if _, err := r.take(); !errors.Is(err, holdfast.ErrUnavailable) {
		t.Errorf("a shared range was given away: %v", err)
	}
	r.drop(1010)
	r.drop(0)
	if first, err := r.take(); err != nil || first != 1010 {
		t.Errorf("%d, %v", first, err)
	}
}

func TestParseCaps(t *testing.T) {
	chown, err := parseCaps(&specs.LinuxCapabilities{
		Bounding: []string{"CAP_CHOWN", "kill"}, Effective: []string{"CAP_CHOWN", "CAP_KILL"}, Permitted: []string{"CAP_CHOWN"},
		Inheritable: []string{"CAP_CHOWN"}, Ambient: []string{"CAP_CHOWN", "CAP_KILL"},
	}, allCaps)
	const c, k = 1 << unix.CAP_CHOWN, 1 << unix.CAP_KILL
	if want := (capSets{bounding: c | k, effective: c, permitted: c, inheritable: c, ambient: c}); err != nil || chown != want {
		t.Errorf("%+v, %v", chown, err)
	}
	if none, err := parseCaps(&specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}}, c); err != nil || none.bounding != 0 {
		t.Errorf("a capability that is not there: %+v, %v", none, err)
	}
	if _, err := parseCaps(&specs.LinuxCapabilities{Permitted: []string{"CAP_EVERYTHING"}}, allCaps); !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("no such capability: %v", err)
	}
	if len(capNames) != unix.CAP_LAST_CAP+1 {
		t.Errorf("%d names of %d capabilities", len(capNames), unix.CAP_LAST_CAP+1)
	}
}

func TestCandidates(t *testing.T) {
	for _, tc := range []struct {
		name, path string
		want       []string
	}{
		{"/bin/sh", "/a", []string{"/bin/sh"}},
		{"./sh", "/a", []string{"./sh"}},
		{"sh", "/a:/b/", []string{"/a/sh", "/b/sh"}},
		{"sh", "::rel", []string{"./sh", "./sh", "rel/sh"}},
	} {
		l := &launch{args: []string{tc.name}, env: []string{"X=1", "PATH=" + tc.path}}
		if got := l.candidates(); !slices.Equal(got, tc.want) {
			t.Errorf("%s in %s: %v, want %v", tc.name, tc.path, got, tc.want)
		}
	}
	l := &launch{args: []string{"sh"}}
	if got := l.candidates(); len(got) != 6 || got[0] != "/usr/local/sbin/sh" {
		t.Errorf("without PATH: %v", got)
	}
}

func rootedDir(t testing.TB) (rooted, string) {
	t.Helper()
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	return rooted{fd: fd}, dir
}

func TestLookupUser(t *testing.T) {
	root, dir := rootedDir(t)
	files := map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nbroken\nneg:x:-1:0::/:\napp:x:1000:1001::/data:/bin/sh\n1234:x:5:6::/odd:\n",
		"etc/group":  "root:x:0:\napp:x:1001:\nextra:x:2000:app,other\nmore:x:2001:app\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		who   string
		extra []string
		want  user
	}{
		{"app", nil, user{uid: 1000, gid: 1001, groups: []uint32{2000, 2001}, home: "/data"}},
		{"1000", nil, user{uid: 1000, gid: 1001, groups: []uint32{2000, 2001}, home: "/data"}},
		{"app:extra", nil, user{uid: 1000, gid: 2000, home: "/data"}},
		{"app:7", []string{"more", "9", "more"}, user{uid: 1000, gid: 7, groups: []uint32{9, 2001}, home: "/data"}},
		{"4444", nil, user{uid: 4444, home: "/"}},
		{"1234", nil, user{uid: 5, gid: 6, home: "/odd"}},
	} {
		got, err := lookupUser(root, tc.who, tc.extra)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s: %+v, %v, want %+v", tc.who, got, err, tc.want)
		}
	}
	for _, who := range []string{"nobody", "app:nobody", "neg", "-1", "99999999999", ""} {
		if _, err := lookupUser(root, who, nil); !errors.Is(err, holdfast.ErrInvalid) {
			t.Errorf("%q: %v", who, err)
		}
	}
}

// TestUserFileIsNoFile: an image cannot hold the runtime up by what it puts in the place of /etc/passwd.
func TestUserFileIsNoFile(t *testing.T) {
	root, dir := rootedDir(t)
	passwd := filepath.Join(dir, "etc/passwd")
	if err := unix.Mkfifo(passwd, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := lookupUser(root, "app", nil); !errors.Is(err, holdfast.ErrInvalid) {
		t.Errorf("a pipe: %v", err)
	}
	if err := os.Remove(passwd); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", passwd); err != nil { // itself, inside
		t.Fatal(err)
	}
	if _, err := lookupUser(root, "root", nil); err == nil {
		t.Error("a link led out of the root")
	}
}

func FuzzPasswd(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n", "app")
	f.Add("app:x:1:2:::\n::::::\n:::", "app:app")
	f.Add(strings.Repeat("a:", 100_000), "a")
	root, dir := rootedDir(f)
	f.Fuzz(func(t *testing.T, text, who string) {
		for _, name := range []string{"passwd", "group"} {
			if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		u, err := lookupUser(root, who, nil)
		if err == nil && (int32(u.uid) < 0 || int32(u.gid) < 0) {
			t.Errorf("%+v", u)
		}
	})
}

func TestRootedMkdir(t *testing.T) {
	root, dir := rootedDir(t)
	for link, to := range map[string]string{"abs": "/made", "rel": "made/too", "up": "../../../../etc", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for p, want := range map[string]string{
		"/a/b/c": "a/b/c", "../../x": "x", "/abs/in": "made/in", "/rel/in": "made/too/in", "/up/in": "etc/in",
	} {
		fd, err := root.mkdirAll(p)
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		unix.Close(fd)
		if info, err := os.Lstat(filepath.Join(dir, want)); err != nil || !info.IsDir() {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := root.mkdirAll("/loop/in"); err == nil {
		t.Error("made a directory behind a loop of links")
	}
	fd, err := root.mkfile("/new/file")
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	for _, p := range []string{"/", ".."} {
		if _, err := root.mountPoint(p, false); !errors.Is(err, holdfast.ErrInvalid) {
			t.Errorf("mount at %s: %v", p, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"relative dir": {Dir: "lib"}, "root": {RunDir: "/"}, "unclean": {CgroupParent: "/a/../b"},
		"ids": {IDBase: 1 << 31, IDSize: 1 << 20, IDRanges: 1 << 20},
	} {
		if err := c.Validate(); !errors.Is(err, holdfast.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
