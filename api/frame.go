package api

import (
	"encoding/binary"
	"fmt"
	"io"
	"syscall"

	"github.com/holdfast/holdfast"
)

// Protocol is the value of the Upgrade header of exec and attach. After the answer 101 both sides send frames: one byte
// of type, four bytes of payload length (big endian), payload.
const Protocol = "holdfast-stream/1"

// maxPayload bounds a frame's payload.
const maxPayload = 64 << 10

// frameType says what a frame's payload is.
type frameType byte

const (
	frameStdin      frameType = 0 // to the process
	frameStdout     frameType = 1
	frameStderr     frameType = 2
	frameResize     frameType = 3 // rows and columns, two bytes each
	frameSignal     frameType = 4 // number, one byte
	frameCloseStdin frameType = 5 // empty
	frameExit       frameType = 6 // exit code, four bytes; the last frame
	frameError      frameType = 7 // a problem as JSON; the last frame
	frameTaken      frameType = 8 // bytes of input that the process took, four bytes; see stdinWindow
)

type frame struct {
	Type    frameType
	Payload []byte
}

// sizes holds the exact payload length of the types that have one.
var sizes = map[frameType]int{frameResize: 4, frameSignal: 1, frameCloseStdin: 0, frameExit: 4, frameTaken: 4}

// readFrame reads one frame. It returns io.EOF at a clean end, and ErrInvalid for what is no frame.
func readFrame(r io.Reader) (frame, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{Type: frameType(head[0])}
	n := binary.BigEndian.Uint32(head[1:])
	if err := checkFrame(f.Type, int64(n)); err != nil {
		return frame{}, err
	}
	f.Payload = make([]byte, n)
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, fmt.Errorf("read frame: %w", err)
	}
	return f, nil
}

func checkFrame(t frameType, n int64) error {
	if t > frameTaken {
		return holdfast.Errorf(holdfast.ErrInvalid, "frame of unknown type %d", t)
	}
	if n > maxPayload {
		return holdfast.Errorf(holdfast.ErrInvalid, "frame of %d bytes: at most %d", n, maxPayload)
	}
	if want, ok := sizes[t]; ok && n != int64(want) {
		return holdfast.Errorf(holdfast.ErrInvalid, "frame of type %d has %d bytes: want %d", t, n, want)
	}
	return nil
}

// appendFrame appends f's bytes. The payload must be within maxPayload.
func appendFrame(b []byte, f frame) []byte {
	b = append(b, byte(f.Type))
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Payload)))
	return append(b, f.Payload...)
}

func resizeFrame(rows, cols uint16) frame {
	p := binary.BigEndian.AppendUint16(nil, rows)
	return frame{Type: frameResize, Payload: binary.BigEndian.AppendUint16(p, cols)}
}

func (f frame) resize() (rows, cols uint16) {
	return binary.BigEndian.Uint16(f.Payload), binary.BigEndian.Uint16(f.Payload[2:])
}

func signalFrame(sig syscall.Signal) frame {
	return frame{Type: frameSignal, Payload: []byte{byte(sig)}}
}

func exitFrame(code int) frame {
	return frame{Type: frameExit, Payload: binary.BigEndian.AppendUint32(nil, uint32(int32(code)))}
}

func (f frame) exit() int { return int(int32(binary.BigEndian.Uint32(f.Payload))) }
