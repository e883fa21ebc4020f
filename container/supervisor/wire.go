//go:build linux

package supervisor

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// maxFrame is more than any spec needs.
const maxFrame = 16 << 20

// maxFiles is how many descriptors come with one frame.
const maxFiles = 4

// wire is a connection that carries frames. One goroutine may receive while others send.
type wire struct {
	conn *net.UnixConn
	send sync.Mutex
}

// write sends v, and files with it; they stay the caller's.
func (w *wire) write(v any, files ...*os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(body) > maxFrame {
		return fmt.Errorf("message of %d bytes is too long", len(body))
	}
	frame := append(binary.LittleEndian.AppendUint32(nil, uint32(len(body))), body...)
	w.send.Lock()
	defer w.send.Unlock()
	return w.writeFrame(frame, files)
}

func (w *wire) writeFrame(frame []byte, files []*os.File) error {
	if len(files) == 0 {
		_, err := w.conn.Write(frame)
		return err
	}
	var fds []int
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) }); err != nil {
			return err
		}
	}
	n, _, err := w.conn.WriteMsgUnix(frame, unix.UnixRights(fds...), nil)
	if err != nil || n == len(frame) {
		return err
	}
	_, err = w.conn.Write(frame[n:])
	return err
}

// read receives into v. The descriptors that came with it are the caller's to close. io.EOF: the other end is gone.
func (w *wire) read(v any) ([]*os.File, error) {
	header, files, err := w.readHeader()
	if err == nil {
		err = w.readBody(header, v)
	}
	if err != nil {
		closeFiles(files)
		return nil, err
	}
	return files, nil
}

func (w *wire) readHeader() (length uint32, files []*os.File, err error) {
	header := make([]byte, 4)
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, flags, _, err := w.conn.ReadMsgUnix(header, oob)
	if err != nil {
		return 0, nil, err
	}
	if n == 0 {
		return 0, nil, io.EOF
	}
	if files, err = parseFiles(oob[:oobn]); err != nil {
		return 0, nil, err
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return 0, files, errors.New("too many descriptors")
	}
	if _, err := io.ReadFull(w.conn, header[n:]); err != nil {
		return 0, files, fmt.Errorf("read frame: %w", err)
	}
	return binary.LittleEndian.Uint32(header), files, nil
}

func (w *wire) readBody(length uint32, v any) error {
	if length > maxFrame {
		return fmt.Errorf("message of %d bytes is too long", length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(w.conn, body); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decode message: %w", err)
	}
	return nil
}

func parseFiles(oob []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse descriptors: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // credentials or the like
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			if err := unix.SetNonblock(fd, true); err != nil { // for Go's poller
				unix.Close(fd)
				continue
			}
			files = append(files, os.NewFile(uintptr(fd), "stream"))
		}
	}
	return files, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// alive tells whether an idle connection's other end is still there, and silent.
func (w *wire) alive() bool {
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return false
	}
	alive := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		alive = err == unix.EAGAIN
	})
	return err == nil && alive
}
