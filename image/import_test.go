package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"

	"github.com/holdfast/holdfast"
)

// entries makes a tar of exactly these headers, each with its data.
type tarEntry struct {
	tar.Header
	data string
}

func entry(name string, kind byte, data string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: kind, Mode: 0o644}, data}
}

func link(name, to string, kind byte) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: kind, Linkname: to, Mode: 0o777}, ""}
}

func makeTar(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range entries {
		e.Size = int64(len(e.data))
		if err := tw.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// savedTar is what docker save writes of an image of one layer.
func savedTar(t testing.TB, layer []byte, tags ...string) []byte {
	t.Helper()
	config := configOf(t, digestOf(layer))
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": tags, "Layers": []string{"layer.tar"}}})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("config.json", digestHex(config)+".json", "layer.tar", digestHex(string(layer))+"/layer.tar").Replace(string(manifest))
	return makeTar(t, entry(digestHex(string(layer))+"/layer.tar", tar.TypeReg, string(layer)),
		entry(digestHex(config)+".json", tar.TypeReg, config), entry("manifest.json", tar.TypeReg, text))
}

func digestHex(data string) string { return strings.TrimPrefix(digestOf([]byte(data)), "sha256:") }

func configOf(t testing.TB, diffIDs ...string) string {
	t.Helper()
	cfg := v1.ConfigFile{OS: "linux", Architecture: Options{}.withDefaults().Platform.Architecture, RootFS: v1.RootFS{Type: "layers"}}
	for _, id := range diffIDs {
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, mustHash(id))
	}
	data, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// layoutTar is an OCI image layout of an image of one layer.
func layoutTar(t testing.TB, config, layer, layerDigest, name string) []byte {
	t.Helper()
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":%d,"digest":%q},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":%d,"digest":%q}]}`,
		len(config), digestOf([]byte(config)), len(layer), layerDigest)
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":%d,"digest":%q,`+
		`"annotations":{"org.opencontainers.image.ref.name":%q}}]}`, len(manifest), digestOf([]byte(manifest)), name)
	return makeTar(t, entry("oci-layout", tar.TypeReg, layoutVersion), entry("index.json", tar.TypeReg, index),
		entry("blobs/sha256/"+digestHex(manifest), tar.TypeReg, manifest),
		entry("blobs/sha256/"+digestHex(config), tar.TypeReg, config),
		entry("blobs/sha256/"+strings.TrimPrefix(layerDigest, "sha256:"), tar.TypeReg, layer))
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestImportKinds(t *testing.T) {
	layer := tarOf(t, map[string]string{"hello": "hi"})
	zw, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var saved bytes.Buffer
	tag, _ := name.NewTag("docker.io/lib/saved:2")
	if err := tarball.Write(tag, imageOf(t, layer), &saved); err != nil {
		t.Fatal(err)
	}
	layout := layoutTar(t, configOf(t, digestOf(layer)), string(layer), digestOf(layer), "quay.io/a/b:3")
	tests := []struct {
		name string
		data []byte
		ref  string
		want string
	}{
		{"rootfs", layer, "local/fs", "docker.io/local/fs:latest"},
		{"rootfs.gz", gzipped(t, layer), "local/fs:1", "docker.io/local/fs:1"},
		{"rootfs.zst", zw.EncodeAll(layer, nil), "local/fs:1", "docker.io/local/fs:1"},
		{"docker save", savedTar(t, layer, "app:1", "app:2"), "", "docker.io/library/app:1"},
		{"docker save, renamed", savedTar(t, layer, "app:1"), "other:5", "docker.io/library/other:5"},
		{"docker save, gzip", gzipped(t, saved.Bytes()), "", "docker.io/lib/saved:2"},
		{"layout", layout, "", "quay.io/a/b:3"},
		{"layout, renamed", layout, "holdfast.local/x/y:z", "holdfast.local/x/y:z"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{})
			img, err := s.Import(t.Context(), bytes.NewReader(test.data), test.ref, nil)
			if err != nil {
				t.Fatal(err)
			}
			if img.Ref != test.want || readFile(t, img, "hello") != "hi" {
				t.Errorf("image is %+v", img)
			}
			again, err := s.Import(t.Context(), bytes.NewReader(test.data), test.ref, nil)
			if err != nil || again.Digest != img.Digest {
				t.Errorf("the second import: %v, %v", again.Digest, err)
			}
			if left := used(t, s.path(tmpDir)); left != 0 {
				t.Errorf("%d bytes of temporary files stay", left)
			}
		})
	}
}

func TestExportedImageCanBeImported(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	img, err := s.Import(t.Context(), bytes.NewReader(tarOf(t, map[string]string{"hello": "hi"})), "my/app:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Export(t.Context(), "my/app:1", &out); err != nil {
		t.Fatal(err)
	}
	other := openStore(t, t.TempDir(), Options{})
	got, err := other.Import(t.Context(), bytes.NewReader(out.Bytes()), "", nil)
	if err != nil || got.Digest != img.Digest || got.Ref != img.Ref {
		t.Errorf("imported %+v, %v", got, err)
	}
	if err := s.Export(t.Context(), "none", io.Discard); !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("export of none: %v", err)
	}
	if podman, err := exec.LookPath("podman"); err == nil { // another implementation reads it as well
		load := exec.Command(podman, "--root", t.TempDir(), "--runroot", t.TempDir(), "--storage-driver", "vfs", "load")
		load.Stdin = &out
		if text, err := load.CombinedOutput(); err != nil {
			t.Errorf("podman load: %v\n%s", err, text)
		}
	}
}

// TestMalformedInput gives every kind of broken archive; nothing of any of them may remain.
func TestMalformedInput(t *testing.T) {
	good := tarOf(t, map[string]string{"a": "1"})
	config := configOf(t, digestOf(good))
	rootfs := func(entries ...tarEntry) []byte {
		return makeTar(t, append([]tarEntry{entry("etc/", tar.TypeDir, "")}, entries...)...)
	}
	cut := func(data []byte, n int) []byte { return data[:len(data)-n] }
	wrongBlob := layoutTar(t, config, string(good), digestOf([]byte("other")), "a:1")
	tests := []struct {
		name, want string
		data       []byte
	}{
		{"empty", "not a tar archive", nil},
		{"text", "not a tar archive", []byte(strings.Repeat("hello ", 200))},
		{"zeros", "not a tar archive", make([]byte, 4096)},
		{"broken gzip", "gzip", []byte{0x1f, 0x8b, 0, 0, 0}},
		{"cut gzip", "unexpected EOF", cut(gzipped(t, rootfs(entry("x", tar.TypeReg, strings.Repeat("abcdef", 5000)))), 20)},
		{"flipped gzip", "", flip(gzipped(t, rootfs(entry("x", tar.TypeReg, strings.Repeat("abc", 5000)))), 60)},
		{"broken zstd", "", []byte{0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff}},
		{"bzip2", "bzip2 or xz", []byte("BZh91AY&SY")},
		{"xz", "bzip2 or xz", []byte{0xfd, '7', 'z', 'X', 'Z', 0}},
		{"cut in a file", "cut short", rootfs(entry("x", tar.TypeReg, strings.Repeat("a", 4000)))[:1024+700]},
		{"cut in a header", "unexpected EOF", rootfs(entry("x", tar.TypeReg, ""))[:512+100]},
		{"flipped header", "invalid tar header", flip(rootfs(entry("x", tar.TypeReg, "")), 512+10)},
		{"dot-dot", "leaves the image", rootfs(entry("../../etc/passwd", tar.TypeReg, "x"))},
		{"dot-dot inside", "leaves the image", rootfs(entry("a/../../../b", tar.TypeReg, "x"))},
		{"hard link out", "leaves the image", rootfs(link("x", "../../etc/shadow", tar.TypeLink))},
		{"hard link to nothing", "does not exist", rootfs(link("x", "/etc/shadow", tar.TypeLink))},
		{"hard link to itself", "does not exist", rootfs(link("x", "x", tar.TypeLink))},
		{"hard link to a directory", "hard link to directory", rootfs(link("x", "etc", tar.TypeLink))},
		{"hard link to the root", "hard link to the root", rootfs(link("x", "/", tar.TypeLink))},
		{"below a file", "below what is not a directory", rootfs(entry("f", tar.TypeReg, "x"), entry("f/g/h", tar.TypeReg, "x"))},
		{"in a file", "is not a directory", rootfs(entry("f", tar.TypeReg, "x"), entry("f/g", tar.TypeReg, "x"))},
		{"link loop", "symbolic links", rootfs(link("a", "b", tar.TypeSymlink), link("b", "a", tar.TypeSymlink), entry("a/x", tar.TypeReg, ""))},
		{"empty link", "symbolic link to", rootfs(link("a", "", tar.TypeSymlink))},
		{"long name", "longer than 255", rootfs(entry(strings.Repeat("n", 256), tar.TypeReg, ""))},
		{"long path", "longer than 4096", rootfs(entry(strings.Repeat("d/", 2100)+"x", tar.TypeReg, ""))},
		{"huge sparse file", "no space left", rawSparse(t, "x", 1<<49)},
		{"root is a file", "root is not a directory", rootfs(entry(".", tar.TypeReg, ""))},
		{"whiteout of parent", "whiteout", rootfs(entry(".wh...", tar.TypeReg, ""))},
		{"bare whiteout", "whiteout", rootfs(entry("etc/.wh.", tar.TypeReg, ""))},
		{"big device", "device number", rootfs(tarEntry{tar.Header{Name: "d", Typeflag: tar.TypeChar, Devmajor: 5000, Format: tar.FormatGNU}, ""})},
		{"unknown type", "unknown", rootfs(entry("x", 'Z', ""))},

		{"saved without manifest", `no "manifest.json"`, makeTar(t, entry("repositories", tar.TypeReg, "{}"))},
		{"saved with bad manifest", "decode manifest.json", makeTar(t, entry("manifest.json", tar.TypeReg, "["))},
		{"saved with nothing", "no images", makeTar(t, entry("manifest.json", tar.TypeReg, "[]"))},
		{"saved without its layer", "archive has no", makeTar(t, entry("manifest.json", tar.TypeReg, `[{"Config":"index.json","Layers":["../../x"]}]`))},
		{"saved with a foreign file", "does not belong", makeTar(t, entry("manifest.json", tar.TypeReg, "[]"), entry("etc/passwd", tar.TypeReg, ""))},
		{"saved with a way out", "does not belong", makeTar(t, entry("manifest.json", tar.TypeReg, "[]"), entry("blobs/../../x", tar.TypeReg, ""))},
		{"saved with a device", "does not belong", makeTar(t, entry("manifest.json", tar.TypeReg, "[]"), entry("blobs/x", tar.TypeChar, ""))},
		{"saved twice", "there twice", makeTar(t, entry("manifest.json", tar.TypeReg, "[]"), entry("./manifest.json", tar.TypeReg, "[]"))},
		{"saved link loop", "archive has no", makeTar(t, link("manifest.json", "index.json", tar.TypeSymlink), link("index.json", "manifest.json", tar.TypeSymlink))},
		{"saved without config", "parse image config", savedWith(t, "nonsense", good)},
		{"saved with too few layers", "image config lists 0 layers", savedWith(t, configOf(t), good)},
		{"saved with another layer", "the image's config says", savedWith(t, configOf(t, digestOf([]byte("x"))), good)},

		{"layout with wrong content", "content is sha256:", wrongBlob},
		{"layout with bad index", "decode index.json", makeTar(t, entry("oci-layout", tar.TypeReg, "{}"), entry("index.json", tar.TypeReg, "{"))},
		{"layout with negative size", "has size -1", makeTar(t, entry("index.json", tar.TypeReg, `{"schemaVersion":2,"manifests":[{"digest":"`+digestOf(nil)+`","size":-1}]}`))},
		{"layout with bad digest", "unsupported hash", makeTar(t, entry("index.json", tar.TypeReg, `{"schemaVersion":2,"manifests":[{"digest":"md5:00","size":1}]}`))},
		{"layout without manifest", "archive has no", makeTar(t, entry("index.json", tar.TypeReg, `{"schemaVersion":2,"manifests":[{"digest":"`+digestOf(nil)+`","size":1}]}`))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t, t.TempDir(), Options{})
			_, err := s.Import(t.Context(), bytes.NewReader(test.data), "bad/image:1", nil)
			if err == nil {
				t.Fatal("imported")
			}
			if holdfast.KindOf(err) == nil && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("error has no kind: %v", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
			if images, err := s.List(t.Context()); err != nil || len(images) != 0 {
				t.Errorf("images: %v, %v", images, err)
			}
			for _, dir := range []string{blobDir, tmpDir, rootfsDir} {
				if left := used(t, s.path(dir)); left != 0 {
					t.Errorf("%d bytes stay in %s", left, dir)
				}
			}
		})
	}
}

func flip(data []byte, at int) []byte {
	data[at] ^= 0x55
	return data
}

// savedWith is what docker save writes, with another config.
func savedWith(t testing.TB, config string, layer []byte) []byte {
	t.Helper()
	manifest := fmt.Sprintf(`[{"Config":%q,"RepoTags":["a:1"],"Layers":[%q]}]`, digestHex(config)+".json", digestHex(string(layer))+"/layer.tar")
	return makeTar(t, entry("manifest.json", tar.TypeReg, manifest), entry(digestHex(config)+".json", tar.TypeReg, config),
		entry(digestHex(string(layer))+"/layer.tar", tar.TypeReg, string(layer)))
}

// rawSparse is a tar with a sparse file that claims a size and holds nothing.
func rawSparse(t testing.TB, name string, size int64) []byte {
	t.Helper()
	sparseMap := fmt.Sprintf("1\n%d\n0\n", size)
	data := sparseMap + strings.Repeat("\x00", 512-len(sparseMap))
	var buf bytes.Buffer
	pax := ""
	for _, kv := range [][2]string{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", name}, {"GNU.sparse.realsize", fmt.Sprint(size)}} {
		record := fmt.Sprintf(" %s=%s\n", kv[0], kv[1])
		n := len(record) + 2
		pax += fmt.Sprintf("%d%s", n, record)
	}
	rawHeader(&buf, "dir/", '5', 0)
	rawHeader(&buf, "pax", 'x', len(pax))
	buf.WriteString(pax + strings.Repeat("\x00", 512-len(pax)))
	rawHeader(&buf, "GNUSparseFile.0/x", '0', len(data))
	buf.WriteString(data)
	buf.Write(make([]byte, 1024))
	return buf.Bytes()
}

func rawHeader(buf *bytes.Buffer, name string, kind byte, size int) {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], "00000000000\x00")
	copy(h[148:], "        ")
	h[156] = kind
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	buf.Write(h)
}

func TestFullDiskDuringImport(t *testing.T) {
	dir := smallDisk(t, 4<<20)
	s := openStore(t, dir, Options{})
	keep, err := s.Import(t.Context(), bytes.NewReader(randomLayer(t, 1, 100000)), "keep:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"spool":  savedTar(t, randomLayer(t, 2, 8<<20), "big:1"),
		"unpack": savedTar(t, randomLayer(t, 3, 2500<<10), "big:1"),
		"rootfs": randomLayer(t, 4, 3<<20),
	} {
		_, err := s.Import(t.Context(), bytes.NewReader(data), "big:1", nil)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "holdfast image prune") {
			t.Fatalf("%s: %v", name, err)
		}
		if n := used(t, dir); n > 1<<20 {
			t.Errorf("%s: %d bytes stay", name, n)
		}
	}
	got, err := s.Get(t.Context(), "keep:1")
	if err != nil || got.Digest != keep.Digest || len(readFile(t, got, "data1")) != 100000 {
		t.Errorf("the acknowledged image: %v", err)
	}
}

// TestFullDiskDuringIndexWrite fills the disk to the last block, so that not even the index can be written.
func TestFullDiskDuringIndexWrite(t *testing.T) {
	dir := smallDisk(t, 2<<20)
	s := openStore(t, dir, Options{})
	if _, err := s.Import(t.Context(), bytes.NewReader(randomLayer(t, 1, 1000)), "keep:1", nil); err != nil {
		t.Fatal(err)
	}
	filler, err := s.tempFile()
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	if err := s.Tag(t.Context(), "keep:1", "other:1"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("tag on a full disk: %v", err)
	}
	if _, err := s.Get(t.Context(), "other:1"); !errors.Is(err, holdfast.ErrNotFound) {
		t.Errorf("the tag that failed: %v", err)
	}
	s.Close()
	s = openStore(t, dir, Options{})
	if _, err := s.Get(t.Context(), "keep:1"); err != nil {
		t.Errorf("after opening anew: %v", err)
	}
}
