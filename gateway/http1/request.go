package http1

import "bytes"

// Request is the head of a request. Its slices point into the parsed buffer.
type Request struct {
	Method  []byte
	Target  []byte // as sent
	Path    []byte // Target without the query; nil when Target is not in origin form
	Host    []byte
	Minor   int   // of the version: 0 or 1
	Length  int64 // of the body; 0 when there is none or it is chunked
	Chunked bool
	Sized   bool   // there was a Content-Length
	Close   bool   // the client wants the connection closed after the response
	Upgrade []byte // protocol that the client asks to change to; nil none
	Expect  bool   // 100-continue, or something else to be dealt with before the body is read
	Size    int    // of the head, in bytes

	fields
	hosts, lengths, codings int
	keepAlive, wantsUpgrade bool
}

// HasBody reports whether a body follows the head.
func (r *Request) HasBody() bool { return r.Length > 0 || r.Chunked }

// Parse parses the head at the start of buf. It returns false when buf ends before the head does; limit bounds the head's
// size. Any error is an *Error.
func (r *Request) Parse(buf []byte, limit int) (bool, error) {
	r.reset()
	at, ok, err := r.parseLine(buf)
	if err != nil || !ok {
		return false, orTooLarge(err, len(buf), limit)
	}
	for {
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

func (r *Request) reset() {
	r.Path, r.Host, r.Upgrade = nil, nil, nil
	r.Length, r.Chunked, r.Sized, r.Close, r.Expect = 0, false, false, false, false
	r.nkeep, r.nnom, r.lines = 0, 0, 0
	r.hosts, r.lengths, r.codings, r.keepAlive, r.wantsUpgrade = 0, 0, 0, false, false
}

func orTooLarge(err error, have, limit int) error {
	if err == nil && have >= limit {
		return errTooLarge
	}
	return err
}

// parseLine parses the request line and returns where the first header line starts. One empty line before it is skipped
// (RFC 9112 §2.2).
func (r *Request) parseLine(buf []byte) (at int, ok bool, err error) {
	if len(buf) > 0 && buf[0] == '\r' {
		if len(buf) < 2 {
			return 0, false, nil
		}
		if buf[1] != '\n' {
			return 0, false, errRequestLine
		}
		at = 2
	}
	nl := bytes.IndexByte(buf[at:], '\n')
	if nl < 0 {
		return 0, false, nil
	}
	end := at + nl
	if nl == 0 || buf[end-1] != '\r' {
		return 0, false, errLineEnd
	}
	text := buf[at : end-1]
	space := 0
	for space < len(text) && tokens[text[space]] {
		space++
	}
	if space == 0 || space == len(text) || text[space] != ' ' {
		return 0, false, errRequestLine
	}
	r.Method, text = text[:space], text[space+1:]
	if space = bytes.IndexByte(text, ' '); space <= 0 {
		return 0, false, errRequestLine
	}
	r.Target, text = text[:space], text[space+1:]
	if err := r.target(); err != nil {
		return 0, false, err
	}
	return end + 1, true, r.version(text)
}

func (r *Request) version(text []byte) error {
	switch {
	case string(text) == "HTTP/1.1":
		r.Minor = 1
	case string(text) == "HTTP/1.0":
		r.Minor = 0
	case len(text) == 8 && string(text[:5]) == "HTTP/" && text[6] == '.':
		return errVersion
	default:
		return errRequestLine
	}
	return nil
}

func (r *Request) target() error {
	query := -1
	for i, c := range r.Target {
		switch {
		case c <= ' ' || c == 0x7f || c == '#':
			return errRequestLine
		case c == '?' && query < 0:
			query = i
		}
	}
	if r.Target[0] != '/' {
		return nil
	}
	if r.Path = r.Target; query >= 0 {
		r.Path = r.Target[:query]
	}
	return nil
}

func (r *Request) field(buf []byte, l *line) error {
	if r.lines++; r.lines > maxLines {
		return errTooLarge
	}
	value := buf[l.valueFrom:l.valueTo]
	switch fieldOf(buf[l.from:l.colon]) {
	case other:
		if Disguised(buf[l.from:l.colon]) {
			return nil
		}
		return r.forward(l.from, l.to)
	case host:
		if r.hosts++; r.hosts > 1 || !validHost(value) {
			return errHost
		}
		r.Host = value
		return r.forward(l.from, l.to)
	case connection:
		return eachToken(buf, l.valueFrom, l.valueTo, func(from, to int) error { return r.option(buf, from, to) })
	case contentLength:
		n, ok := parseLength(value)
		if r.lengths++; r.lengths > 1 || !ok {
			return errLength
		}
		r.Length, r.Sized = n, true
	case transferEncoding:
		if r.codings++; r.codings > 1 || !foldedIs(value, "chunked") {
			return errCoding
		}
		r.Chunked = true
	case upgrade:
		r.Upgrade = value
	case expect:
		r.Expect = true
	}
	return nil
}

func (r *Request) option(buf []byte, from, to int) error {
	token := buf[from:to]
	switch {
	case foldedIs(token, "close"):
		r.Close = true
	case foldedIs(token, "keep-alive"):
		r.keepAlive = true
	case foldedIs(token, "upgrade"):
		r.wantsUpgrade = true
	default:
		if protected(token) {
			return nil
		}
		return r.nominate(from, to)
	}
	return nil
}

// Disguised reports whether name is, with "-" for "_", one that the gateway sets or that frames the message: servers that
// hand headers on as CGI variables cannot tell the two apart.
func Disguised(name []byte) bool {
	var plain [24]byte
	if len(name) > len(plain) || bytes.IndexByte(name, '_') < 0 {
		return false
	}
	for i, c := range name {
		if c == '_' {
			c = '-'
		}
		plain[i] = c
	}
	return fieldOf(plain[:len(name)]) != other
}

// protected reports whether a client may not have name dropped by naming it in Connection: the message's meaning would
// change on the way.
func protected(name []byte) bool {
	switch fieldOf(name) {
	case host, contentLength, transferEncoding:
		return true
	}
	return false
}

func (r *Request) finish(buf []byte) error {
	switch {
	case r.hosts == 0 && r.Minor == 1:
		return errHost
	case r.codings > 0 && r.lengths > 0:
		return errBothLengths
	case r.codings > 0 && r.Minor == 0:
		return errCoding
	}
	if !r.wantsUpgrade || len(r.Upgrade) == 0 {
		r.Upgrade = nil
	}
	if r.Minor == 0 && !r.keepAlive {
		r.Close = true
	}
	return r.dropNominated(buf)
}

// AppendFields appends the header lines that are forwarded: all but those about the connection, the body's framing and
// what a client may not claim.
func (r *Request) AppendFields(to, buf []byte) []byte { return r.append(to, buf) }

func (f *fields) append(to, buf []byte) []byte {
	for _, run := range f.keep[:f.nkeep] {
		to = append(to, buf[run.from:run.to]...)
	}
	return to
}

// validHost reports whether v may be the value of Host: the characters of uri-host [":" port] (RFC 3986 §3.2.2), or
// nothing.
func validHost(v []byte) bool {
	for _, c := range v {
		if !hostBytes[c] {
			return false
		}
	}
	return true
}

var hostBytes = func() (t [256]bool) {
	for c := range 128 {
		t[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	for _, c := range "-._~!$&'()*+,;=:[]%" {
		t[c] = true
	}
	return t
}()
