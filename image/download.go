package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
)

// download makes sure that the store has the layer l. A download that breaks off is taken up where it ended, in this
// call a few times and in a later one as well.
func (s *Store) download(ctx context.Context, repo *repository, l Layer, report *reporter) error {
	p := Progress{Layer: l.Digest, Total: l.Size}
	unlock, err := s.locks.lock(ctx, l.Digest, func() { p.Step = Waiting; report.report(p) })
	if err != nil {
		return err
	}
	defer unlock()
	p.Step = Downloading
	backoff := s.opt.Backoff
	for attempt := 1; ; attempt++ {
		if s.hasBlob(l.Digest) {
			p.Current = l.Size
			report.report(p)
			return nil
		}
		err := s.downloadOnce(ctx, repo, l, report)
		if err == nil {
			continue
		}
		if !errors.Is(err, holdfast.ErrUnavailable) {
			return err
		}
		if attempt == s.opt.Attempts {
			return fmt.Errorf("gave up after %d attempts: %w", attempt, err)
		}
		report.report(Progress{Step: Retrying, Layer: l.Digest, Total: l.Size, Text: err.Error()})
		if err := pause(ctx, backoff); err != nil {
			return err
		}
		backoff *= 2
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) partialPath(digest string) string {
	return s.path(partialDir, strings.TrimPrefix(digest, "sha256:"))
}

// dropPartials frees what was downloaded of layers that are not complete.
func (s *Store) dropPartials(layers []Layer) error {
	var errs []error
	for _, l := range layers {
		if err := os.Remove(s.partialPath(l.Digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// downloadOnce goes on with the layer's partial file until the connection ends. ErrUnavailable when another attempt
// may do better; ErrInvalid when the content is not what its digest says.
func (s *Store) downloadOnce(ctx context.Context, repo *repository, l Layer, report *reporter) error {
	f, err := os.OpenFile(s.partialPath(l.Digest), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	d := &partial{file: f, hash: sha256.New(), layer: l}
	if err := d.rehash(); err != nil {
		return err
	}
	resumed := d.have > 0
	if d.have < l.Size || l.Size == 0 {
		if err := s.receive(ctx, repo, d, report); err != nil {
			return err
		}
	}
	if got := "sha256:" + hex.EncodeToString(d.hash.Sum(nil)); got != l.Digest {
		if err := os.Remove(f.Name()); err != nil {
			return err
		}
		if resumed { // what was left of an earlier download may be to blame
			return holdfast.Errorf(holdfast.ErrUnavailable, "resumed download has content %s", got)
		}
		return holdfast.Errorf(holdfast.ErrInvalid, "corrupted: content is %s", got)
	}
	return s.adopt(f, l.Digest)
}

// receive appends to the partial file what is missing of it.
func (s *Store) receive(ctx context.Context, repo *repository, d *partial, report *reporter) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{}
	if d.have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.have))
	}
	stall := time.AfterFunc(s.opt.Stall, func() {
		cancel(holdfast.Errorf(holdfast.ErrUnavailable, "nothing came for %s", s.opt.Stall))
	})
	defer stall.Stop()
	resp, err := repo.get(ctx, "/blobs/"+d.layer.Digest, header)
	if err != nil {
		return stallCause(ctx, err)
	}
	defer resp.Body.Close()
	if err := d.position(resp); err != nil {
		return err
	}
	body := report.reader(resp.Body, Progress{Step: Downloading, Layer: d.layer.Digest, Current: d.have, Total: d.layer.Size})
	return stallCause(ctx, d.copy(body, func() { stall.Reset(s.opt.Stall) }))
}

// stallCause replaces an error that came of our own cancellation by its cause.
func stallCause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// partial is a layer of which a part is on disk.
type partial struct {
	file  *os.File
	hash  hash.Hash // of the bytes up to have
	have  int64
	layer Layer
}

// rehash reads what an earlier download left.
func (d *partial) rehash() error {
	n, err := io.Copy(d.hash, d.file)
	if err != nil {
		return err
	}
	d.have = n
	if n > d.layer.Size {
		return d.restart()
	}
	return nil
}

func (d *partial) restart() error {
	d.have = 0
	d.hash.Reset()
	if err := d.file.Truncate(0); err != nil {
		return err
	}
	_, err := d.file.Seek(0, io.SeekStart)
	return err
}

// position makes the file fit the part that the registry sends, and checks that this ends where the layer ends.
func (d *partial) position(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusRequestedRangeNotSatisfiable:
		if err := d.restart(); err != nil {
			return err
		}
		return holdfast.Errorf(holdfast.ErrUnavailable, "registry refuses to resume")
	case http.StatusPartialContent:
		start, ok := rangeStart(resp.Header.Get("Content-Range"))
		if !ok || start != d.have {
			if err := d.restart(); err != nil {
				return err
			}
			return holdfast.Errorf(holdfast.ErrUnavailable, "registry sends range %q", resp.Header.Get("Content-Range"))
		}
	default:
		if err := d.restart(); err != nil {
			return err
		}
	}
	if resp.ContentLength >= 0 && d.have+resp.ContentLength != d.layer.Size {
		return errors.Join(os.Remove(d.file.Name()), holdfast.Errorf(holdfast.ErrInvalid,
			"truncated or replaced: registry has %d bytes, the manifest says %d", d.have+resp.ContentLength, d.layer.Size))
	}
	return nil
}

// copy appends body to the file. A write error is returned as it is; what the connection is to blame for is
// ErrUnavailable.
func (d *partial) copy(body io.Reader, alive func()) error {
	buf := make([]byte, 128<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			alive()
			if d.have+int64(n) > d.layer.Size {
				return errors.Join(os.Remove(d.file.Name()), holdfast.Errorf(holdfast.ErrInvalid,
					"registry sends more than the %d bytes that the manifest says", d.layer.Size))
			}
			if _, err := d.file.Write(buf[:n]); err != nil {
				return err
			}
			d.hash.Write(buf[:n])
			d.have += int64(n)
		}
		switch {
		case err == io.EOF && d.have == d.layer.Size:
			return nil
		case err == io.EOF:
			return holdfast.Errorf(holdfast.ErrUnavailable, "truncated: connection ended after %d of %d bytes", d.have, d.layer.Size)
		case err != nil:
			return holdfast.Errorf(holdfast.ErrUnavailable, "connection broke after %d of %d bytes: %w", d.have, d.layer.Size, err)
		}
	}
}

// rangeStart parses the first byte's position out of a Content-Range: "bytes 100-199/200".
func rangeStart(header string) (int64, bool) {
	var start, end int64
	n, err := fmt.Sscanf(header, "bytes %d-%d/", &start, &end)
	return start, n == 2 && err == nil && start >= 0 && end >= start
}
