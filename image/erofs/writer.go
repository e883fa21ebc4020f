// Package erofs writes a flattened image as one EROFS file, which Linux mounts as it is and a virtual machine takes as
// its disk. Data is written once, as the layers are read; names and attributes follow at the end. Other than
// github.com/erofs/go-erofs, which reads the result in the tests, it writes hard links, keeps times in all inodes, and
// needs no second copy of the data while it works.
//
// Format: https://docs.kernel.org/filesystems/erofs.html and https://erofs.docs.kernel.org/en/latest/core_ondisk.html
//
// May import only image/rootfs, the root package and libraries.
package erofs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast/image/rootfs"
)

const (
	blockSize = 4096
	// inlineMax is the largest content that is stored beside its inode.
	inlineMax = 2048
	// inlineBudget bounds the memory that inline contents take until they are written.
	inlineBudget = 16 << 20
	// sparseCheck is the size of a file from which on it is first checked that the disk has room for it.
	sparseCheck = 64 << 20
)

// Writer writes one image into a file. Use: New, Put and Drop while layers are applied, then Finish.
type Writer struct {
	f       *os.File
	buf     *bufio.Writer
	next    int64 // block that the next data goes to
	inline  [][]byte
	budget  int
	dropped []extent
}

type extent struct{ block, blocks int64 }

// New returns a writer of an image into f, which must be empty.
func New(f *os.File) (*Writer, error) {
	w := &Writer{f: f, buf: bufio.NewWriterSize(f, 1<<20), next: 1, budget: inlineBudget}
	if _, err := w.buf.Write(zeros[:]); err != nil {
		return nil, fmt.Errorf("write image: %w", err)
	}
	return w, nil
}

var zeros [blockSize]byte

// Put implements rootfs.Content.
func (w *Writer) Put(r io.Reader, size int64) (rootfs.Handle, error) {
	if size <= inlineMax && int(size) <= w.budget {
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return 0, err
		}
		w.budget -= int(size)
		w.inline = append(w.inline, data)
		return rootfs.Handle(-len(w.inline)), nil
	}
	if err := w.room(size); err != nil {
		return 0, err
	}
	n, err := io.CopyN(w.buf, r, size)
	if err == nil {
		err = w.pad(n)
	}
	if err != nil {
		return 0, err
	}
	at := w.next
	w.next += blocks(size)
	return rootfs.Handle(at), nil
}

// room refuses a large file that the disk has no room for before anything of it is written.
func (w *Writer) room(size int64) error {
	if size < sparseCheck {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(w.f.Fd()), &st); err != nil {
		return fmt.Errorf("stat file system: %w", err)
	}
	if free := int64(st.Bavail) * st.Bsize; size > free {
		return fmt.Errorf("file of %d bytes with %d bytes free: %w", size, free, unix.ENOSPC)
	}
	return nil
}

func (w *Writer) pad(n int64) error {
	if rest := n % blockSize; rest != 0 {
		_, err := w.buf.Write(zeros[rest:])
		return err
	}
	return nil
}

func blocks(size int64) int64 { return (size + blockSize - 1) / blockSize }

// Drop implements rootfs.Content: the space is given back to the disk by Finish.
func (w *Writer) Drop(h rootfs.Handle, size int64) error {
	if h < 0 {
		w.budget += int(size)
		w.inline[-h-1] = nil
		return nil
	}
	w.dropped = append(w.dropped, extent{int64(h), blocks(size)})
	return nil
}

// Finish writes the tree below root, whose data went through Put. The file is complete, but not synced.
func (w *Writer) Finish(root *rootfs.Node) error {
	l, err := w.layout(root)
	if err != nil {
		return err
	}
	if err := w.writeAll(l); err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return w.punch()
}

func (w *Writer) writeAll(l *layout) error {
	if err := l.writePlain(w.buf); err != nil {
		return err
	}
	if err := l.writeInodes(w.buf); err != nil {
		return err
	}
	if err := w.buf.Flush(); err != nil {
		return err
	}
	_, err := w.f.WriteAt(l.superblock(), 0)
	return err
}

// punch gives the blocks of dropped data back to the disk. A file system that cannot do it keeps them.
func (w *Writer) punch() error {
	for _, e := range w.dropped {
		err := unix.Fallocate(int(w.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
			e.block*blockSize, e.blocks*blockSize)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("free blocks of image: %w", err)
		}
	}
	return nil
}
