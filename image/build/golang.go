package build

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/holdfast/holdfast"
)

const nonroot = "65532:65532"

// golang builds a static binary and puts it into an image with nothing else but certificates, time zones and a user.
func (b *builder) golang(ctx context.Context, repo string, src holdfast.GoSource) (Result, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return Result{}, holdfast.Errorf(holdfast.ErrUnsupported, "images from Go packages need the go command: https://go.dev/dl")
	}
	work, err := os.MkdirTemp(b.CacheDir, "go-*")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(work)
	binary, err := b.compile(ctx, src, work)
	if err != nil {
		return Result{}, err
	}
	out, err := newLayerFile(work)
	if err != nil {
		return Result{}, err
	}
	defer out.remove()
	cfg := v1.Config{
		Entrypoint: []string{"/" + filepath.Base(binary)}, User: nonroot, WorkingDir: "/",
		Env: []string{"PATH=/", "HOME=/tmp"},
	}
	zones := goZones(ctx, src.Dir)
	if zones != nil {
		cfg.Env = append(cfg.Env, "ZONEINFO=/zoneinfo.zip")
	}
	if err := writeGoLayer(out, binary, zones); err != nil {
		return Result{}, err
	}
	l, err := out.finish()
	if err != nil {
		return Result{}, err
	}
	tag, err := key("go", l.diffID, cfg)
	if err != nil {
		return Result{}, err
	}
	return b.cached(repo, tag, func(path string) error { return writeLayout(path, cfg, l) })
}

// compile runs go build and returns the binary, which has the name that Go gives it.
func (b *builder) compile(ctx context.Context, src holdfast.GoSource, work string) (string, error) {
	bin := filepath.Join(work, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return "", err
	}
	args := append([]string{"build", "-trimpath", "-buildvcs=false", "-o", bin + "/"}, src.Flags...)
	cmd := exec.Command("go", append(args, src.Package)...)
	cmd.Dir = src.Dir
	cmd.Env = append(append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0"), src.Env...)
	if _, err := b.run(ctx, cmd); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(bin)
	if err != nil {
		return "", err
	}
	if len(entries) != 1 {
		return "", holdfast.Errorf(holdfast.ErrInvalid, "go build %s in %s made %d programs; it must name one main package", src.Package, src.Dir, len(entries))
	}
	return filepath.Join(bin, entries[0].Name()), nil
}

// goZones returns the time zone database of the Go distribution, or nil.
func goZones(ctx context.Context, dir string) []byte {
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "lib/time/zoneinfo.zip"))
	if err != nil {
		return nil
	}
	return data
}

// certificates returns the certificate authorities that this machine trusts, or nil.
func certificates() []byte {
	for _, path := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"} {
		if data, err := os.ReadFile(path); err == nil {
			return data
		}
	}
	return nil
}

func writeGoLayer(w io.Writer, binary string, zones []byte) error {
	tw := tar.NewWriter(w)
	for _, dir := range []struct {
		name string
		mode int64
	}{{"etc/", 0o755}, {"etc/ssl/", 0o755}, {"etc/ssl/certs/", 0o755}, {"tmp/", 0o1777}} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir.name, Mode: dir.mode}); err != nil {
			return err
		}
	}
	files := []struct {
		name string
		data []byte
	}{
		{"etc/passwd", []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n")},
		{"etc/group", []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"etc/ssl/certs/ca-certificates.crt", certificates()},
		{"zoneinfo.zip", zones},
	}
	for _, f := range files {
		if f.data == nil {
			continue
		}
		if err := writeFile(tw, f.name, 0o644, bytes.NewReader(f.data), int64(len(f.data))); err != nil {
			return err
		}
	}
	f, err := os.Open(binary)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := writeFile(tw, filepath.Base(binary), 0o755, f, info.Size()); err != nil {
		return err
	}
	return tw.Close()
}
