package http1

import "bytes"

// Response is the head of a response. Its slices point into the parsed buffer.
type Response struct {
	Status  int
	Reason  []byte // what follows the version in the status line: " 200 OK"
	Minor   int
	Length  int64 // of the body as announced; -1 when neither Content-Length nor chunked say so
	Chunked bool
	Close   bool // the connection cannot be used again
	Upgrade bool // Connection: upgrade
	Size    int  // of the head, in bytes

	fields
	lengths, codings int
	keepAlive        bool
}

// Parse parses the head at the start of buf, as Request.Parse does.
func (r *Response) Parse(buf []byte, limit int) (bool, error) {
	r.reset()
	nl := bytes.IndexByte(buf, '\n')
	if nl < 0 {
		return false, orTooLarge(nil, len(buf), limit)
	}
	if err := r.statusLine(buf[:nl+1]); err != nil {
		return false, err
	}
	for at := nl + 1; ; {
		var l line
		what, err := nextLine(buf, at, &l)
		switch {
		case err != nil:
			return false, err
		case what == lineMore:
			return false, orTooLarge(nil, len(buf), limit)
		case l.to > limit:
			return false, errTooLarge
		case what == lineEnd:
			r.Size = l.to
			err := r.finish(buf)
			return err == nil, err
		}
		if err := r.field(buf, &l); err != nil {
			return false, err
		}
		at = l.to
	}
}

func (r *Response) reset() {
	r.Length, r.Chunked, r.Close, r.Upgrade, r.keepAlive = -1, false, false, false, false
	r.nkeep, r.nnom, r.lines, r.lengths, r.codings = 0, 0, 0, 0, 0
}

// statusLine parses "HTTP/1.x SP 3DIGIT [SP reason] CRLF".
func (r *Response) statusLine(l []byte) error {
	if len(l) < 14 || string(l[:7]) != "HTTP/1." || l[7] != '0' && l[7] != '1' || l[8] != ' ' || l[len(l)-2] != '\r' {
		return errStatusLine
	}
	text := l[8 : len(l)-2]
	for _, c := range text {
		if !values[c] {
			return errStatusLine
		}
	}
	r.Status = 0
	for _, c := range text[1:4] {
		if c < '0' || c > '9' {
			return errStatusLine
		}
		r.Status = r.Status*10 + int(c-'0')
	}
	if r.Status < 100 || len(text) > 4 && text[4] != ' ' {
		return errStatusLine
	}
	r.Minor, r.Reason = int(l[7]-'0'), text
	return nil
}

func (r *Response) field(buf []byte, l *line) error {
	if r.lines++; r.lines > maxLines {
		return errTooLarge
	}
	value := buf[l.valueFrom:l.valueTo]
	switch fieldOf(buf[l.from:l.colon]) {
	case hopByHop, upgrade:
		return nil
	case connection:
		return eachToken(buf, l.valueFrom, l.valueTo, func(from, to int) error { return r.option(buf, from, to) })
	case contentLength:
		n, ok := parseLength(value)
		if r.lengths++; r.lengths > 1 || !ok {
			return errLength
		}
		r.Length = n
		return nil
	case transferEncoding:
		if r.codings++; r.codings > 1 || !foldedIs(value, "chunked") {
			return errCoding
		}
		r.Chunked = true
		return nil
	}
	return r.forward(l.from, l.to)
}

func (r *Response) option(buf []byte, from, to int) error {
	token := buf[from:to]
	switch {
	case foldedIs(token, "close"):
		r.Close = true
	case foldedIs(token, "keep-alive"):
		r.keepAlive = true
	case foldedIs(token, "upgrade"):
		r.Upgrade = true
	default:
		if protected(token) {
			return nil
		}
		return r.nominate(from, to)
	}
	return nil
}

func (r *Response) finish(buf []byte) error {
	if r.Chunked && r.lengths > 0 {
		r.Length, r.Close = -1, true // RFC 9112 §6.3: chunked wins, and the connection is not to be trusted
	}
	if r.Minor == 0 {
		r.Close = r.Close || !r.keepAlive
		if r.Chunked {
			return errCoding
		}
	}
	return r.dropNominated(buf)
}

// AppendFields appends the header lines that are forwarded: all but those about the connection and the body's framing.
func (r *Response) AppendFields(to, buf []byte) []byte { return r.append(to, buf) }

// Bodyless reports whether a response to a request with this method has no body whatever its head says (RFC 9112 §6.3).
func (r *Response) Bodyless(head bool) bool {
	return head || r.Status < 200 || r.Status == 204 || r.Status == 304
}
