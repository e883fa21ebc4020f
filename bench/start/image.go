//go:build linux && amd64

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/seccomp"
	"github.com/holdfast/holdfast/internal/instant"
)

// image holds one program, which prints the time of its first instruction.
type image struct {
	dir    string
	rootfs container.Rootfs
}

func newImage(dir string) (*image, error) {
	im := &image{dir: filepath.Join(dir, "image")}
	for _, d := range []string{"proc", "sys", "dev", "etc"} {
		if err := os.MkdirAll(filepath.Join(im.dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(im.dir, "instant"), instant.Program(), 0o755); err != nil {
		return nil, err
	}
	for _, d := range []string{dir, im.dir} { // a user namespace of the container's must get through
		if err := os.Chmod(d, 0o755); err != nil {
			return nil, err
		}
	}
	im.rootfs.Dirs = []string{im.dir}
	if _, err := exec.LookPath("mkfs.erofs"); err != nil {
		fmt.Println("the image is a directory: mkfs.erofs is not installed")
		return im, nil
	}
	file := filepath.Join(dir, "image.erofs")
	if out, err := exec.Command("mkfs.erofs", "--quiet", file, im.dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make image: %w\n%s", err, out)
	}
	im.rootfs = container.Rootfs{EROFS: file}
	return im, nil
}

// config is what the program runs with: the defaults of all.
func config() (*specs.Spec, error) {
	spec := container.DefaultSpec()
	spec.Process.Args = []string{"/instant"}
	profile, err := seccomp.Default(container.DefaultCapabilities)
	spec.Linux.Seccomp = profile
	return spec, err
}

// firstInstruction finds the program's line in what a container printed.
func firstInstruction(output string, began time.Duration) (time.Duration, error) {
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); len(line) == instant.Len {
			return instant.Parse(line) - began, nil
		}
	}
	return 0, fmt.Errorf("the container printed %q", output)
}
