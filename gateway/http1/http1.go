// Package http1 parses HTTP/1 messages in place: no byte is copied and nothing is allocated. It is strict where RFC 9112
// allows it to be, so that no replica can read a message otherwise than the gateway did.
//
// May import only the standard library.
package http1

import "bytes"

// Error is why a message is refused, with the status that tells the client.
type Error struct {
	Status int
	Text   string
}

func (e *Error) Error() string { return e.Text }

// What makes a message bad.
var (
	errRequestLine = &Error{400, "malformed request line"}
	errVersion     = &Error{505, "HTTP version is not supported"}
	errLineEnd     = &Error{400, "a line of the head does not end in CRLF"}
	errFold        = &Error{400, "folded header line"}
	errName        = &Error{400, "malformed header name"}
	errValue       = &Error{400, "malformed header value"}
	errHost        = &Error{400, "missing, repeated or malformed Host"}
	errLength      = &Error{400, "repeated or malformed Content-Length"}
	errBothLengths = &Error{400, "Content-Length beside Transfer-Encoding"}
	errCoding      = &Error{501, "transfer coding is not supported"}
	errTooLarge    = &Error{431, "the head is too large"}
	errStatusLine  = &Error{502, "malformed status line"}
	errChunk       = &Error{400, "malformed chunk"}
	errTrailer     = &Error{400, "malformed trailer"}
)

// span is a part of the head: buf[from:to].
type span struct{ from, to int }

// maxSpans is how many runs of kept header lines a head may have.
const maxSpans = 32

// maxLines is how many header lines a head may have.
const maxLines = 128

// fields are the header lines of a head.
type fields struct {
	keep      [maxSpans]span // runs of lines that are forwarded
	nkeep     int
	nominated [8]span // names in Connection that are dropped
	nnom      int
	lines     int
}

// forward adds the line buf[from:to] to what is kept.
func (f *fields) forward(from, to int) error {
	if f.nkeep > 0 && f.keep[f.nkeep-1].to == from {
		f.keep[f.nkeep-1].to = to
		return nil
	}
	if f.nkeep == maxSpans {
		return errTooLarge
	}
	f.keep[f.nkeep] = span{from, to}
	f.nkeep++
	return nil
}

// nominate notes a name of a Connection header.
func (f *fields) nominate(from, to int) error {
	if f.nnom == len(f.nominated) {
		return errTooLarge
	}
	f.nominated[f.nnom] = span{from, to}
	f.nnom++
	return nil
}

// dropNominated takes the lines that Connection names out of what is kept.
func (f *fields) dropNominated(buf []byte) error {
	if f.nnom == 0 {
		return nil
	}
	old := *f
	f.nkeep = 0
	for _, run := range old.keep[:old.nkeep] {
		for from := run.from; from < run.to; {
			to := from + bytes.IndexByte(buf[from:run.to], '\n') + 1
			name := buf[from : from+bytes.IndexByte(buf[from:to], ':')]
			if !old.isNominated(buf, name) {
				if err := f.forward(from, to); err != nil {
					return err
				}
			}
			from = to
		}
	}
	return nil
}

func (f *fields) isNominated(buf, name []byte) bool {
	for _, n := range f.nominated[:f.nnom] {
		if sameFolded(buf[n.from:n.to], name) {
			return true
		}
	}
	return false
}

// line is one header line: buf[from:to], CRLF included.
type line struct{ from, colon, valueFrom, valueTo, to int }

// Results of nextLine that are no error.
const (
	lineField = iota
	lineEnd   // the empty line that ends the head
	lineMore  // the buffer ends first
)

// nextLine reads the header line that starts at buf[at].
func nextLine(buf []byte, at int, l *line) (int, error) {
	nl := bytes.IndexByte(buf[at:], '\n')
	if nl < 0 {
		return lineMore, nil
	}
	end := at + nl // of the LF
	if nl == 0 || buf[end-1] != '\r' {
		return 0, errLineEnd
	}
	if nl == 1 {
		l.to = end + 1
		return lineEnd, nil
	}
	colon := at
	for tokens[buf[colon]] {
		colon++
	}
	if colon == at || buf[colon] != ':' {
		if colon == at && (buf[at] == ' ' || buf[at] == '\t') {
			return 0, errFold
		}
		return 0, errName
	}
	from, to := colon+1, end-1
	for _, c := range buf[from:to] {
		if !values[c] {
			return 0, errValue
		}
	}
	for from < to && (buf[from] == ' ' || buf[from] == '\t') {
		from++
	}
	for from < to && (buf[to-1] == ' ' || buf[to-1] == '\t') {
		to--
	}
	*l = line{from: at, colon: colon, valueFrom: from, valueTo: to, to: end + 1}
	return lineField, nil
}

// field names that matter to a proxy.
type field int

const (
	other field = iota
	host
	connection
	contentLength
	transferEncoding
	upgrade
	expect
	hopByHop // dropped
	claimed  // what a client may not claim about itself: dropped from requests
)

// fieldOf tells which field name is.
func fieldOf(name []byte) field {
	switch len(name) {
	case 2:
		return is(name, "te", hopByHop)
	case 4:
		return is(name, "host", host)
	case 6:
		return is(name, "expect", expect)
	case 7:
		return is(name, "upgrade", upgrade)
	case 9:
		if f := is(name, "forwarded", claimed); f != other {
			return f
		}
		return is(name, "x-real-ip", claimed)
	case 10:
		if f := is(name, "connection", connection); f != other {
			return f
		}
		return is(name, "keep-alive", hopByHop)
	case 14:
		return is(name, "content-length", contentLength)
	case 15:
		return is(name, "x-forwarded-for", claimed)
	case 16:
		switch {
		case is(name, "proxy-connection", hopByHop) != other:
			return hopByHop
		case is(name, "x-forwarded-host", claimed) != other:
			return claimed
		}
		return other
	case 17:
		return is(name, "transfer-encoding", transferEncoding).or(is(name, "x-forwarded-proto", claimed))
	case 18:
		return is(name, "proxy-authenticate", hopByHop)
	case 19:
		return is(name, "proxy-authorization", hopByHop)
	}
	return other
}

func (f field) or(g field) field {
	if f != other {
		return f
	}
	return g
}

// foldedIs reports whether b is want, which is in lower case, whatever b's ASCII case. Unlike bytes.EqualFold it takes no
// other letter for an ASCII one.
func foldedIs(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i := range want {
		if fold(b[i]) != want[i] {
			return false
		}
	}
	return true
}

func sameFolded(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// is returns f when name is want, which is in lower case.
func is(name []byte, want string, f field) field {
	for i := range want {
		if fold(name[i]) != want[i] {
			return other
		}
	}
	return f
}

// tokens are the bytes of a token (RFC 9110 §5.6.2); values those of a field value (§5.5).
var tokens, values = makeTables()

func makeTables() (t, v [256]bool) {
	for c := range 256 {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		v[c] = c >= 0x20 && c != 0x7f || c == '\t'
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t, v
}

// parseLength parses a Content-Length: digits only, at most 18.
func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// eachToken calls f with the bounds of each element of the list buf[from:to].
func eachToken(buf []byte, from, to int, f func(from, to int) error) error {
	for from < to {
		end := from
		for end < to && buf[end] != ',' {
			end++
		}
		a, b := from, end
		for a < b && (buf[a] == ' ' || buf[a] == '\t') {
			a++
		}
		for a < b && (buf[b-1] == ' ' || buf[b-1] == '\t') {
			b--
		}
		if a < b {
			if err := f(a, b); err != nil {
				return err
			}
		}
		from = end + 1
	}
	return nil
}

// Complete reports whether buf may hold a whole head: an empty line ends in it, in what comes after the first old bytes.
func Complete(buf []byte, old int) bool {
	tail := buf[max(0, old-3):]
	return bytes.Contains(tail, []byte("\n\r\n")) || bytes.Contains(tail, []byte("\n\n"))
}
