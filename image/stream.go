package image

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/holdfast/holdfast"
)

// zstdMemory bounds the window that a zstd stream may ask for.
const zstdMemory = 512 << 20

// decompress returns what r holds when it is gzip or zstd, by its first bytes, and else r itself.
func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	head, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "read gzip: %w", err)
		}
		return zr, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		zr, err := zstd.NewReader(br, zstd.WithDecoderMaxMemory(zstdMemory), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, holdfast.Errorf(holdfast.ErrInvalid, "read zstd: %w", err)
		}
		return zr.IOReadCloser(), nil
	case bytes.HasPrefix(head, []byte("BZh")), bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X'}):
		return nil, holdfast.Errorf(holdfast.ErrUnsupported, "compression is bzip2 or xz; gzip, zstd and none are read")
	}
	return io.NopCloser(br), nil
}

// readAhead reads r in a goroutine of its own, so that decompressing and unpacking use two cores. Close ends it and
// waits until it no longer reads r.
type readAhead struct {
	full chan []byte
	free chan []byte
	stop chan struct{}
	once sync.Once
	done chan struct{}
	err  error // of r; read after full is closed
	rest []byte
	cur  []byte
}

const (
	readAheadBuffers = 8
	readAheadSize    = 128 << 10
)

func newReadAhead(r io.Reader) *readAhead {
	a := &readAhead{
		full: make(chan []byte, readAheadBuffers), free: make(chan []byte, readAheadBuffers),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	for range readAheadBuffers {
		a.free <- make([]byte, readAheadSize)
	}
	go a.run(r)
	return a
}

func (a *readAhead) run(r io.Reader) {
	defer close(a.done)
	defer close(a.full)
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.stop:
			a.err = io.ErrClosedPipe
			return
		}
		n, err := fill(r, buf[:readAheadSize])
		if n > 0 {
			a.full <- buf[:n] // has room for all buffers
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// fill reads until buf is full or r gives an error, which it returns as it is.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

func (a *readAhead) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		if a.cur != nil {
			a.free <- a.cur
			a.cur = nil
		}
		buf, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.cur, a.rest = buf, buf
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

func (a *readAhead) Close() error {
	a.once.Do(func() { close(a.stop) })
	<-a.done
	return nil
}
