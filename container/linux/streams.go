//go:build linux

package linux

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/container"
	"github.com/holdfast/holdfast/container/linux/stdio"
)

// streams are a container's standard streams. Outputs are named pipes that the container's own descriptors keep open
// for reading as well: when this process dies, writes go on to succeed, and the next one reads the pipe by its name.
type streams struct {
	dir  string // of the pipes
	ends [3]int // the container's; -1 when given away
	log  *stdio.Log
	out  *stdio.Stream
	err  *stdio.Stream // nil with a terminal
	tty  *os.File      // the terminal's master; nil: none

	mu    sync.Mutex
	stdin *os.File // our end; nil: none, or closed
}

// openStreams opens the streams of a container that is about to start. dir holds its pipes, pts is its /dev/pts.
func openStreams(dir string, spec container.Spec, pts int, now func() time.Time) (_ *streams, err error) {
	s := &streams{dir: dir, ends: [3]int{-1, -1, -1}, log: stdio.NewLog(spec.Log, now)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if spec.OCI.Process.Terminal {
		return s, s.openTerminal(pts, spec)
	}
	if s.out, s.ends[1], err = s.openOutput("stdout"); err != nil {
		return nil, err
	}
	if s.err, s.ends[2], err = s.openOutput("stderr"); err != nil {
		return nil, err
	}
	if spec.Stdin {
		return s, s.openInput()
	}
	s.ends[0], err = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return s, err
}

// openOutput opens both ends of an output; theirs is the container's.
func (s *streams) openOutput(name string) (ours *stdio.Stream, theirs int, err error) {
	theirs, err = unix.Open(filepath.Join(s.dir, name), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("open %s: %w", name, err)
	}
	ours, err = s.reopenOutput(name)
	if err != nil {
		unix.Close(theirs)
		return nil, -1, err
	}
	return ours, theirs, nil
}

// reopenOutput opens our end of an output.
func (s *streams) reopenOutput(name string) (*stdio.Stream, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return stdio.NewStream(name, f, s.log), nil
}

// makePipe makes a named pipe. Whoever the container runs as may open it again as /dev/stdout.
func makePipe(path string) error {
	if err := unix.Mkfifo(path, 0o666); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	if err := unix.Chmod(path, 0o666); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	return nil
}

// openInput makes the pipe to standard input. The container sees its end when we close ours.
func (s *streams) openInput() (err error) {
	path := filepath.Join(s.dir, "stdin")
	if err := makePipe(path); err != nil {
		return err
	}
	if s.ends[0], err = unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open stdin: %w", err)
	}
	if s.stdin, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
		return fmt.Errorf("open stdin: %w", err)
	}
	return unix.SetNonblock(s.ends[0], false)
}

// openTerminal makes a terminal on the container's own /dev/pts.
func (s *streams) openTerminal(pts int, spec container.Spec) error {
	if pts < 0 {
		return holdfast.Errorf(holdfast.ErrInvalid, "a terminal needs a devpts mount at /dev/pts")
	}
	master, slave, err := newTerminal(pts)
	if err != nil {
		return err
	}
	s.ends[0] = slave
	if size := spec.OCI.Process.ConsoleSize; size != nil {
		err = resize(master, uint16(size.Height), uint16(size.Width))
	}
	s.tty = os.NewFile(uintptr(master), "terminal")
	if err != nil {
		return err
	}
	if s.out, err = s.terminalOutput(); err != nil {
		return err
	}
	for i := 1; i < 3; i++ {
		if s.ends[i], err = unix.FcntlInt(uintptr(slave), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return fmt.Errorf("copy terminal: %w", err)
		}
	}
	return nil
}

// terminalOutput returns the stream of what the terminal shows.
func (s *streams) terminalOutput() (*stdio.Stream, error) {
	if s.tty == nil {
		return nil, errors.New("the terminal is lost")
	}
	f, err := copyFile(s.tty)
	if err != nil {
		return nil, err
	}
	return stdio.NewStream("stdout", f, s.log), nil
}

// newTerminal makes a terminal on a devpts mount; its master does not block.
func newTerminal(pts int) (master, slave int, err error) {
	master, err = unix.Openat(pts, "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("open terminal: %w", err)
	}
	if err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err == nil {
		slave, err = openPeer(master)
	}
	if err != nil {
		unix.Close(master)
		return -1, -1, fmt.Errorf("unlock terminal: %w", err)
	}
	return master, slave, nil
}

// openPeer opens a terminal's other end without a path (CVE-2025-52565).
func openPeer(master int) (int, error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

func resize(master int, rows, cols uint16) error {
	if err := unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

// child returns the container's ends, in order.
func (s *streams) child() []int { return s.ends[:] }

// start moves output from now on. The container has its ends.
func (s *streams) start() {
	s.closeEnds()
	go s.out.Run()
	if s.err != nil {
		go s.err.Run()
	}
}

func (s *streams) closeEnds() {
	for i, fd := range s.ends {
		if fd >= 0 {
			unix.Close(fd)
		}
		s.ends[i] = -1
	}
}

// finish waits until all that the container wrote is in the log. Nothing of it lives any more.
func (s *streams) finish() {
	if s == nil {
		return
	}
	const patience = 2 * time.Second // for a descriptor that was passed to a process outside of the container
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for _, stream := range []*stdio.Stream{s.out, s.err} {
		if stream == nil {
			continue
		}
		select {
		case <-stream.Done():
		case <-timer.C:
			stream.Stop()
		}
	}
	s.close()
}

// letGo gives up our ends; the container keeps its own.
func (s *streams) letGo() {
	if s == nil {
		return
	}
	for _, stream := range []*stdio.Stream{s.out, s.err} {
		if stream != nil {
			stream.Stop()
			<-stream.Done()
		}
	}
	s.closeStdin()
	if s.tty != nil {
		s.tty.Close()
	}
	s.log.Close()
}

func (s *streams) closeStdin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stdin == nil {
		return nil
	}
	err := s.stdin.Close()
	s.stdin = nil
	return err
}

// close gives up all.
func (s *streams) close() {
	s.closeEnds()
	for _, stream := range []*stdio.Stream{s.out, s.err} {
		if stream != nil {
			stream.Stop()
		}
	}
	s.closeStdin()
	if s.tty != nil {
		s.tty.Close()
	}
	s.log.Close()
}

// placeConsole mounts the terminal at /dev/console.
func (s *starting) placeConsole(root rooted) error {
	if s.io.tty == nil {
		return nil
	}
	if err := unix.Fchown(s.io.ends[0], root.owner+int(s.launch.user.uid), root.owner+ttyGroup); err != nil {
		return fmt.Errorf("set owner of terminal: %w", err)
	}
	target, err := root.mkfile("/dev/console")
	if err != nil {
		return fmt.Errorf("make /dev/console: %w", err)
	}
	defer unix.Close(target)
	fd, err := cloneTree(s.io.ends[0], "", false)
	if err != nil {
		return fmt.Errorf("copy terminal: %w", err)
	}
	defer unix.Close(fd)
	if err := attach(fd, target); err != nil {
		return fmt.Errorf("mount /dev/console: %w", err)
	}
	return nil
}

// ttyGroup owns terminals, by Debian's and everybody's /etc/group.
const ttyGroup = 5
