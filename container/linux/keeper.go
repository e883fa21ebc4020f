//go:build linux

package linux

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/container/linux/initproc"
)

// A keeper is a process that holds what a container would miss if this process died: the master of its terminal, and
// our end of its standard input. It is a child of the zygote that does nothing but wait for the container's end.
type keeper struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"`
}

// Descriptors in a keeper.
const (
	keepProcess = 100 + iota
	keepTerminal
	keepStdin
)

// startKeeper starts the keeper of the streams of the container whose pidfd is given; nil when it needs none.
func (r *Runtime) startKeeper(s *streams, container int) (*child, *keeper, error) {
	type kept struct {
		file *os.File
		fd   int
	}
	var p program
	files := []int{container}
	p.do("keep process", unix.SYS_DUP3, reg(1), keepProcess, 0)
	for _, k := range []kept{{s.tty, keepTerminal}, {s.stdin, keepStdin}} {
		if k.file == nil {
			continue
		}
		files = append(files, rawFD(k.file))
		p.do("keep stream", unix.SYS_DUP3, reg(len(files)), k.fd, 0)
	}
	if len(files) == 1 {
		return nil, nil, nil
	}
	p.do("close the rest", unix.SYS_CLOSE_RANGE, initproc.FirstFree, keepProcess-1, 0)
	p.do("make session", unix.SYS_SETSID)
	p.do("answer", initproc.OpAnswer)
	pollfd := binary.NativeEndian.AppendUint32(nil, keepProcess)
	pollfd = binary.NativeEndian.AppendUint32(pollfd, unix.POLLIN)
	p.do("wait for the container's end", unix.SYS_PPOLL, p.bytes(pollfd), 1, 0, 0, 8)
	p.do("exit", initproc.OpExit, 0)
	return r.runKeeper(&p, files)
}

func (r *Runtime) runKeeper(p *program, files []int) (*child, *keeper, error) {
	c, err := r.zygote.spawn(0, "")
	if err != nil {
		return nil, nil, fmt.Errorf("start keeper of streams: %w", err)
	}
	start, err := processStartTime(c.pid)
	var answer result
	if err == nil {
		answer, err = p.run(c.ctl, files...)
	}
	if err == nil {
		err = goneError(answer.gone)
	}
	if err != nil {
		c.reap()
		return nil, nil, fmt.Errorf("start keeper of streams: %w", err)
	}
	return c, &keeper{PID: c.pid, StartTime: start}, nil
}

// take copies a stream out of the keeper; nil when it does not have it.
func (k *keeper) take(fd int, name string) *os.File {
	if k == nil {
		return nil
	}
	process, err := openProcess(k.PID, k.StartTime)
	if err != nil {
		return nil
	}
	defer unix.Close(process)
	own, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(own), name)
}

// kill makes the keeper let go.
func (k *keeper) kill() error {
	if k == nil {
		return nil
	}
	process, err := openProcess(k.PID, k.StartTime)
	if err != nil {
		return nil // it is dead
	}
	defer unix.Close(process)
	if err := unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("end keeper of streams: %w", err)
	}
	return nil
}

func rawFD(f *os.File) int {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1
	}
	own := -1
	_ = raw.Control(func(fd uintptr) { own = int(fd) }) // -1 is refused by the kernel
	return own
}
