//go:build linux && amd64

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// stage is a thread on which programs are started that must not see the unified cgroup hierarchy beside version 1's:
// crun 1.8 refuses to set limits then.
type stage struct {
	jobs chan func()
}

func newStage() (*stage, error) {
	s := &stage{jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ready <- hideUnified()
		for job := range s.jobs {
			job()
		}
	}()
	return s, <-ready
}

func hideUnified() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts slaves: %w", err)
	}
	if err := unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("hide unified cgroup hierarchy: %w", err)
	}
	return nil
}

// do runs f on the stage's thread. What it mounts only the stage sees.
func (s *stage) do(f func() error) error {
	done := make(chan error)
	s.jobs <- func() { done <- f() }
	return <-done
}

// output runs a program on the stage and returns what it wrote.
func (s *stage) output(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out []byte
	err := s.do(func() (err error) {
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", args[0], err, out)
	}
	return string(out), nil
}

func (s *stage) close() error {
	close(s.jobs)
	return nil
}

func openCrun(ctx context.Context, dir string, image *image) (*candidate, error) {
	return openOCI(dir, image, "crun")
}

func openRunc(ctx context.Context, dir string, image *image) (*candidate, error) {
	return openOCI(dir, image, "runc")
}

// openOCI calls the program itself, with the config that ours gets. Mounting the overlay counts, as it does for ours.
func openOCI(dir string, image *image, program string) (*candidate, error) {
	if _, err := exec.LookPath(program); err != nil {
		return nil, fmt.Errorf("%w: %w", errMissing, err)
	}
	s, err := newStage()
	if err != nil {
		return nil, err
	}
	n := 0
	start := func(ctx context.Context) (time.Duration, error) {
		n++
		id := fmt.Sprintf("hf-bench-%s-%d", program, n)
		bundle := filepath.Join(dir, id)
		if err := writeBundle(bundle, id); err != nil {
			return 0, err
		}
		began := monotonic()
		if err := s.do(func() error { return mountOverlay(bundle, image.dir) }); err != nil {
			return 0, err
		}
		out, err := s.output(ctx, program, "--root", filepath.Join(dir, program), "run", "--bundle", bundle, id)
		if err := errors.Join(err, s.do(func() error { return unix.Unmount(filepath.Join(bundle, "rootfs"), 0) }), os.RemoveAll(bundle)); err != nil {
			return 0, err
		}
		return firstInstruction(out, began)
	}
	return &candidate{start: start, close: func() error {
		removeCgroups(ociCgroup)
		return s.close()
	}}, nil
}

const ociCgroup = "/holdfast-bench-oci"

func writeBundle(bundle, id string) error {
	spec, err := config()
	if err != nil {
		return err
	}
	spec.Version = "1.0.2" // the newest that crun 1.8 takes
	spec.Root = &specs.Root{Path: "rootfs"}
	spec.Linux.CgroupsPath = ociCgroup + "/" + id
	for _, kind := range []specs.LinuxNamespaceType{
		specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.NetworkNamespace, specs.CgroupNamespace,
	} {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.Mkdir(bundle, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o600)
}

func mountOverlay(bundle, lower string) error {
	for _, d := range []string{"upper", "work", "rootfs"} {
		if err := os.Mkdir(filepath.Join(bundle, d), 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, bundle, bundle)
	return unix.Mount("overlay", filepath.Join(bundle, "rootfs"), "overlay", 0, options)
}

// openPodman gives podman a storage of its own. Its limits are those of this process: it cannot raise them where
// CAP_SYS_RESOURCE is missing.
func openPodman(ctx context.Context, dir string, image *image) (*candidate, error) {
	if _, err := exec.LookPath("podman"); err != nil {
		return nil, fmt.Errorf("%w: %w", errMissing, err)
	}
	s, err := newStage()
	if err != nil {
		return nil, err
	}
	base := []string{
		"podman", "--root", filepath.Join(dir, "podman"), "--runroot", filepath.Join(dir, "podman-run"), "--cgroup-manager", "cgroupfs",
		"--events-backend", "none",
	}
	archive := filepath.Join(dir, "image.tar")
	if out, err := exec.Command("tar", "-C", image.dir, "-cf", archive, ".").CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("pack image: %w\n%s", err, out), s.close())
	}
	if _, err := s.output(ctx, append(base, "import", archive, "hf-bench")...); err != nil {
		return nil, errors.Join(err, s.close())
	}
	var files, procs unix.Rlimit
	if err := errors.Join(unix.Getrlimit(unix.RLIMIT_NOFILE, &files), unix.Getrlimit(unix.RLIMIT_NPROC, &procs)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	args := append(base, "run", "--rm", "--network", "none",
		"--ulimit", fmt.Sprintf("nofile=%d:%d", min(files.Max, 20000), min(files.Max, 20000)),
		"--ulimit", fmt.Sprintf("nproc=%d:%d", min(procs.Max, 20000), min(procs.Max, 20000)), "hf-bench", "/instant")
	closing := func() error {
		// Its storage is a mount point of its own making, which keeps the directory.
		return errors.Join(ignoreEINVAL(s.do(func() error { return unix.Unmount(filepath.Join(dir, "podman", "overlay"), unix.MNT_DETACH) })), s.close())
	}
	return command(s, args, closing), nil
}

func ignoreEINVAL(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func openDocker(ctx context.Context, dir string, image *image) (*candidate, error) {
	if out, err := exec.CommandContext(ctx, "docker", "info").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: docker info: %w: %.80s", errMissing, err, out)
	}
	s, err := newStage()
	if err != nil {
		return nil, err
	}
	archive := filepath.Join(dir, "docker.tar")
	if out, err := exec.Command("tar", "-C", image.dir, "-cf", archive, ".").CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("pack image: %w\n%s", err, out), s.close())
	}
	if _, err := s.output(ctx, "docker", "import", archive, "hf-bench"); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return command(s, []string{"docker", "run", "--rm", "--network", "none", "hf-bench", "/instant"}, func() error {
		_, err := s.output(context.Background(), "docker", "rmi", "hf-bench")
		return errors.Join(err, s.close())
	}), nil
}

// command is a candidate that is one call of a program.
func command(s *stage, args []string, closing func() error) *candidate {
	return &candidate{close: closing, start: func(ctx context.Context) (time.Duration, error) {
		began := monotonic()
		out, err := s.output(ctx, args...)
		if err != nil {
			return 0, err
		}
		return firstInstruction(out, began)
	}}
}

// peer returns the process at the other end of a unix socket.
func peer(socket string) (int, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if cerr != nil {
		return 0, cerr
	}
	return int(cred.Pid), nil
}
