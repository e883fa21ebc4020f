package image

import (
	"io"
	"io/fs"
	"sync"
	"syscall"
)

// allocated returns the bytes that a file takes on disk.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// reporter hands progress to a ProgressFunc, one at a time. The nil reporter and one of a nil function do nothing.
type reporter struct {
	mu sync.Mutex
	fn ProgressFunc
}

func (r *reporter) report(p Progress) {
	if r == nil || r.fn == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fn(p)
}

// reportEvery is how many bytes pass between two reports of one reader.
const reportEvery = 1 << 20

// reader returns src, reporting p with Current set as it is read.
func (r *reporter) reader(src io.Reader, p Progress) *countingReader {
	return &countingReader{src: src, report: r, p: p, last: p.Current}
}

type countingReader struct {
	src    io.Reader
	report *reporter
	p      Progress
	last   int64
}

func (c *countingReader) Read(buf []byte) (int, error) {
	n, err := c.src.Read(buf)
	c.p.Current += int64(n)
	if c.p.Current-c.last >= reportEvery {
		c.last = c.p.Current
		c.report.report(c.p)
	}
	return n, err
}

// done reports that all was read.
func (c *countingReader) done() {
	c.p.Total = c.p.Current
	c.report.report(c.p)
}
