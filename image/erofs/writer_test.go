package erofs

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	goerofs "github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/image/rootfs"
)

// write makes an image of the layers and returns its path.
func write(t testing.TB, layers ...[]byte) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image.erofs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := New(f)
	if err != nil {
		t.Fatal(err)
	}
	tree := rootfs.New(w)
	for _, layer := range layers {
		if err := tree.Apply(bytes.NewReader(layer)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(tree.Root()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func makeTar(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range headers {
		data := h.PAXRecords["TEST.data"]
		delete(h.PAXRecords, "TEST.data")
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		h.Size, h.Format = int64(len(data)), tar.FormatPAX
		if h.Typeflag != tar.TypeReg {
			h.Size = 0
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func file(name, data string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, PAXRecords: map[string]string{"TEST.data": data}}
}

// everything holds each kind of file at the sizes where the format changes its ways.
func everything(t testing.TB) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	mtime := time.Unix(1700000000, 123456789)
	hs := []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 7, Gid: 8, ModTime: mtime},
		{Name: "dev/null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Name: "dev/disk", Typeflag: tar.TypeBlock, Mode: 0o600, Devmajor: 259, Devminor: 70000},
		{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o622},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "many/0001"},
		{Name: "longlink", Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x/", 1500) + "y"},
		{Name: "tmp", Typeflag: tar.TypeDir, Mode: 0o1777},
	}
	for _, size := range []int{0, 1, 100, 1900, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 70000, 3 << 20} {
		h := file(fmt.Sprintf("sized/%d", size), random(size))
		h.ModTime = mtime
		hs = append(hs, h)
	}
	setuid := file("bin/su", random(5000))
	setuid.Mode, setuid.Uid, setuid.Gid = 0o4755, 100000, 70000
	capable := file("bin/ping", random(300))
	capable.PAXRecords["SCHILY.xattr.security.capability"] = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	capable.PAXRecords["SCHILY.xattr.user.note"] = "hi"
	capable.PAXRecords["SCHILY.xattr.trusted.overlay.opaque"] = "y"
	big := file("bin/attrs", random(1500)) // with them, more than a block
	for i := range 40 {
		big.PAXRecords[fmt.Sprintf("SCHILY.xattr.user.%03d", i)] = strings.Repeat("v", i*4)
	}
	hs = append(hs, setuid, capable, big,
		tar.Header{Name: "bin/su2", Typeflag: tar.TypeLink, Linkname: "bin/su"},
		tar.Header{Name: "many/hard", Typeflag: tar.TypeLink, Linkname: "/bin/ping"},
		file("long/"+strings.Repeat("n", 255), "long name"))
	for i := range 1000 {
		hs = append(hs, file(fmt.Sprintf("many/%04d", i), fmt.Sprint(i)))
	}
	for i := range 300 {
		hs = append(hs, file(fmt.Sprintf("wide/%0200d", i), ""))
	}
	return makeTar(t, hs...)
}

// describe lists a mounted or opened tree, one line per file.
func describe(t *testing.T, root string) []string {
	t.Helper()
	inodes := map[uint64]string{}
	var lines []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line, ino := describeFile(t, path)
		name := strings.TrimPrefix(path, root)
		if first, ok := inodes[ino]; ok {
			line += " same as " + first
		} else {
			inodes[ino] = name
		}
		lines = append(lines, name+" "+line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func describeFile(t *testing.T, path string) (string, uint64) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("%o %d:%d rdev %d links %d mtime %d.%d", st.Mode, st.Uid, st.Gid, st.Rdev, st.Nlink, st.Mtim.Sec, st.Mtim.Nsec)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		line += fmt.Sprintf(" size %d %x", st.Size, sha256.Sum256(data))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		line += " -> " + target
	}
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00")
	slices.Sort(names)
	for _, name := range names {
		if name == "" {
			continue
		}
		value := make([]byte, 1<<16)
		m, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		line += fmt.Sprintf(" %s=%x", name, value[:m])
	}
	return line, st.Ino
}

// mount mounts an image and returns where.
func mount(t *testing.T, image string) string {
	t.Helper()
	if err := Probe(t.TempDir()); err != nil {
		t.Skipf("kernel without file-backed erofs: %v", err)
	}
	fd, err := open(image)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestKernelReadsWhatTarWould compares a mounted image with what tar unpacks of the same layer.
func TestKernelReadsWhatTarWould(t *testing.T) {
	layer := everything(t)
	want := t.TempDir()
	untar := exec.Command("tar", "--extract", "--same-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*",
		"--directory", want)
	untar.Stdin = bytes.NewReader(layer)
	if out, err := untar.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	got := describe(t, mount(t, write(t, layer)))
	compare(t, got, describe(t, want))
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	bad := 0
	for i := range min(len(got), len(want)) {
		g, w := ignoreImplied(got[i]), ignoreImplied(want[i])
		if g != w && bad < 10 {
			bad++
			t.Errorf("got  %s\nwant %s", g, w)
		}
	}
}

// ignoreImplied drops what differs by nature: the time of directories that no entry names, overlay attributes (left
// out on purpose).
func ignoreImplied(line string) string {
	line = strings.ReplaceAll(line, " trusted.overlay.opaque=79", "")
	fields := strings.Split(line, " ")
	for i, f := range fields {
		if f == "mtime" && !strings.Contains(fields[i+1], "123456789") {
			fields[i+1] = "-"
		}
	}
	return strings.Join(fields, " ")
}

func TestFsckAcceptsImage(t *testing.T) {
	if _, err := exec.LookPath("fsck.erofs"); err != nil {
		t.Skip("fsck.erofs is not installed (Debian: erofs-utils)")
	}
	image := write(t, everything(t))
	if out, err := exec.Command("fsck.erofs", "--extract", image).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestReaderOfOthersReadsImage(t *testing.T) {
	f, err := os.Open(write(t, everything(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := goerofs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = fs.WalkDir(img, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		_, err = fs.ReadFile(img, path)
		return err
	})
	if err != nil || files != 1319 {
		t.Fatalf("%d files, %v", files, err)
	}
	data, err := fs.ReadFile(img, "many/0042")
	if err != nil || string(data) != "42" {
		t.Fatalf("many/0042 is %q, %v", data, err)
	}
}

func TestSameLayersSameImage(t *testing.T) {
	layer := everything(t)
	a, err := os.ReadFile(write(t, layer))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(write(t, layer))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Fatal("two images of one layer differ")
	}
}

// TestDroppedDataTakesNoSpace overwrites a large file and checks that the old data is given back to the disk.
func TestDroppedDataTakesNoSpace(t *testing.T) {
	large := strings.Repeat("holdfast", 1<<19)
	image := write(t, makeTar(t, file("a", large)), makeTar(t, file("a", "small")))
	var st unix.Stat_t
	if err := unix.Stat(image, &st); err != nil {
		t.Fatal(err)
	}
	if used := st.Blocks * 512; used > 1<<20 {
		t.Fatalf("image with no large file uses %d bytes", used)
	}
}
