package http1

// Chunks finds the end of a chunked body that passes by. Its zero value is at the start of one.
//
// It is strict: sizes of at most 15 hexadecimal digits, CRLF everywhere, extensions of printable characters and bounded,
// trailers like header lines and none that changes the message's framing or destination.
type Chunks struct {
	left  int64 // bytes of chunk data still to come, or the size being read
	count int32 // digits of the size, bytes of extension, or bytes of trailers
	nname int16
	state chunkState
	name  [17]byte // of a trailer; longer names are none that matter
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerName
	trailerValue
	trailerLF
	chunkEndLF
	chunkDone
)

const (
	maxExtension = 1 << 10
	maxTrailers  = 8 << 10
)

// Scan reads p as the next part of the body and returns how much of it belongs to the body, which is all of it unless
// done is true: then the body ends there.
func (c *Chunks) Scan(p []byte) (n int, done bool, err error) {
	for n < len(p) {
		if c.state == chunkData {
			take := min(c.left, int64(len(p)-n))
			n += int(take)
			if c.left -= take; c.left == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		if err := c.step(p[n]); err != nil {
			return n, false, err
		}
		n++
		if c.state == chunkDone {
			return n, true, nil
		}
	}
	return n, false, nil
}

// step takes one byte that is not chunk data.
func (c *Chunks) step(b byte) error {
	switch c.state {
	case chunkSize:
		return c.size(b)
	case chunkExt:
		return c.extension(b)
	case chunkSizeLF:
		return c.sizeLF(b)
	case chunkDataCR:
		return c.expect(b, '\r', chunkDataLF)
	case chunkDataLF:
		c.left, c.count = 0, 0
		return c.expect(b, '\n', chunkSize)
	case chunkEndLF:
		return c.expect(b, '\n', chunkDone)
	}
	return c.trailer(b)
}

func (c *Chunks) expect(b, want byte, next chunkState) error {
	if b != want {
		return errChunk
	}
	c.state = next
	return nil
}

func (c *Chunks) size(b byte) error {
	if d := hexDigit(b); d >= 0 {
		if c.count++; c.count > 15 {
			return errChunk
		}
		c.left = c.left<<4 | int64(d)
		return nil
	}
	if c.count == 0 {
		return errChunk
	}
	c.count = 0
	switch b {
	case '\r':
		c.state = chunkSizeLF
	case ';':
		c.state = chunkExt
	default:
		return errChunk
	}
	return nil
}

func hexDigit(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b && b <= 'f':
		return int(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}

func (c *Chunks) extension(b byte) error {
	if b == '\r' {
		c.count, c.state = 0, chunkSizeLF
		return nil
	}
	if c.count++; c.count > maxExtension || !values[b] {
		return errChunk
	}
	return nil
}

func (c *Chunks) sizeLF(b byte) error {
	next := chunkData
	if c.left == 0 {
		next = trailerStart
	}
	return c.expect(b, '\n', next)
}

func (c *Chunks) trailer(b byte) error {
	if c.count++; c.count > maxTrailers {
		return errTrailer
	}
	switch c.state {
	case trailerStart:
		if b == '\r' {
			c.state = chunkEndLF
			return nil
		}
		c.nname, c.state = 0, trailerName
		return c.trailerName(b)
	case trailerName:
		return c.trailerName(b)
	case trailerValue:
		if b == '\r' {
			c.state = trailerLF
			return nil
		}
		if !values[b] {
			return errTrailer
		}
		return nil
	}
	return c.expect(b, '\n', trailerStart)
}

func (c *Chunks) trailerName(b byte) error {
	if b == ':' && c.nname > 0 {
		if int(c.nname) <= len(c.name) && fieldOf(c.name[:c.nname]) != other {
			return errTrailer
		}
		c.state = trailerValue
		return nil
	}
	if !tokens[b] {
		return errTrailer
	}
	if int(c.nname) < len(c.name) {
		c.name[c.nname] = b
	}
	c.nname++
	return nil
}
