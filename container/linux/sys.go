//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fdPath is the path by which the kernel finds this process's descriptor again.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func ignoreEINTR[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != unix.EINTR {
			return v, err
		}
	}
}

// newFS makes a file system that is mounted nowhere yet. options are pairs of name and value, a flag's value being "".
func newFS(kind string, attrs int, options ...string) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open file system %s: %w", kind, err)
	}
	defer unix.Close(fs)
	for i := 0; i < len(options); i += 2 {
		name, value := options[i], options[i+1]
		if value == "" {
			err = unix.FsconfigSetFlag(fs, name)
		} else {
			err = unix.FsconfigSetString(fs, name, value)
		}
		if err != nil {
			return -1, fmt.Errorf("set %s option %s=%s: %w", kind, name, value, kernelSays(fs, err))
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("create file system %s: %w", kind, kernelSays(fs, err))
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", kind, kernelSays(fs, err))
	}
	return fd, nil
}

// kernelSays adds the kernel's own words about fs to err.
func kernelSays(fs int, err error) error {
	var words []string
	buf := make([]byte, 512)
	for len(words) < 4 {
		n, e := unix.Read(fs, buf)
		if e != nil || n <= 0 {
			break
		}
		words = append(words, strings.TrimSpace(strings.TrimPrefix(string(buf[:n]), "e ")))
	}
	if len(words) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(words, "; "))
}

// cloneTree copies the mount at path (relative to dir) into one that is mounted nowhere yet.
func cloneTree(dir int, path string, recursive bool) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return unix.OpenTree(dir, path, flags)
}

// attach mounts the detached mount fd on the file that target is open on.
func attach(fd, target int) error {
	return unix.MoveMount(fd, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// waitPidfd reaps a child of this process and returns its exit code, 128+signal for a killed one. ok is false when the
// process is not our child.
func waitPidfd(pidfd int) (code int, ok bool) {
	var info siginfo
	for {
		err := unix.Waitid(unix.P_PIDFD, pidfd, info.raw(), unix.WEXITED, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, false
		}
		return info.exitCode(), true
	}
}

// waitForEnd waits until the process is a zombie or gone.
func waitForEnd(pidfd int) error {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	_, err := ignoreEINTR(func() (int, error) { return unix.Poll(fds, -1) })
	return err
}

// writeFile writes to a file of a kernel file system in one call.
func writeFile(path, data string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(data)
	return errors.Join(err, f.Close())
}
