package api

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"

	"github.com/holdfast/holdfast"
)

func TestFramesComeBack(t *testing.T) {
	frames := []frame{
		{Type: frameStdin, Payload: []byte("input")}, {Type: frameStdout, Payload: bytes.Repeat([]byte{7}, maxPayload)},
		{Type: frameStderr, Payload: []byte{}}, resizeFrame(50, 300), signalFrame(syscall.SIGTERM),
		{Type: frameCloseStdin, Payload: []byte{}}, takenFrame(99), exitFrame(-1), {Type: frameError, Payload: []byte(`{}`)},
	}
	var b []byte
	for _, f := range frames {
		b = appendFrame(b, f)
	}
	r := bytes.NewReader(b)
	for _, want := range frames {
		got, err := readFrame(r)
		if err != nil || got.Type != want.Type || !bytes.Equal(got.Payload, want.Payload) {
			t.Fatalf("frame of type %d came back as type %d, %v", want.Type, got.Type, err)
		}
	}
	if _, err := readFrame(r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if rows, cols := frames[3].resize(); rows != 50 || cols != 300 {
		t.Errorf("resize is %d, %d", rows, cols)
	}
	if frames[7].exit() != -1 || frames[6].taken() != 99 {
		t.Errorf("exit is %d, taken %d", frames[7].exit(), frames[6].taken())
	}
}

func TestBadFrames(t *testing.T) {
	for name, b := range map[string][]byte{
		"unknown type":    {9, 0, 0, 0, 0},
		"too long":        {0, 0, 1, 0, 1},
		"huge":            {1, 255, 255, 255, 255},
		"resize of one":   {3, 0, 0, 0, 1, 1},
		"signal of none":  {4, 0, 0, 0, 0},
		"close with data": {5, 0, 0, 0, 1, 1},
	} {
		if _, err := readFrame(bytes.NewReader(b)); !errors.Is(err, holdfast.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"cut head": {0, 0, 0}, "cut payload": {0, 0, 0, 0, 2, 1}} {
		if _, err := readFrame(bytes.NewReader(b)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, resizeFrame(1, 2)), frame{Type: frameStdin, Payload: []byte("x")}))
	f.Add([]byte{9, 0, 0, 0, 0})
	f.Add([]byte{0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		var again []byte
		for {
			fr, err := readFrame(r)
			if err != nil {
				break
			}
			if len(fr.Payload) > maxPayload {
				t.Fatalf("payload of %d bytes", len(fr.Payload))
			}
			again = appendFrame(again, fr)
			q := newStdinQueue()
			_ = applyFrame(fr, q, discardExec{})
		}
		if !bytes.HasPrefix(in, again) {
			t.Fatalf("frames of %x are written as %x", in, again)
		}
	})
}

// discardExec takes everything.
type discardExec struct{}

func (discardExec) Stdin() io.WriteCloser       { return nil }
func (discardExec) Stdout() io.Reader           { return bytes.NewReader(nil) }
func (discardExec) Stderr() io.Reader           { return nil }
func (discardExec) Resize(uint16, uint16) error { return nil }
func (discardExec) Signal(syscall.Signal) error { return nil }
func (discardExec) Wait() (int, error)          { return 0, nil }
func (discardExec) Close() error                { return nil }
