package loop

import (
	"errors"
	"strconv"

	"github.com/holdfast/holdfast/gateway/http1"
	"github.com/holdfast/holdfast/gateway/upstream"
)

// framing is how the end of a response's body is found.
type framing uint8

const (
	none framing = iota
	sized
	chunked
	untilClose // passed on in chunks
)

// copyUpTo is how long a body is copied behind its head rather than sent by a gathering call, which costs more.
const copyUpTo = 4 << 10

// responseHeadBytes bounds the head of a response.
const responseHeadBytes = 64 << 10

var errConnectTimeout = errors.New("connect to the replica: timed out")

// backData takes the next part of what a replica sent.
func (l *loop) backData(b *conn, data []byte) {
	b.x.got = true
	if b.phase == responseBody {
		l.passOn(b.x, data, l.head[:0])
		return
	}
	if old := len(b.in); old > 0 {
		l.keep(b, data)
		if data = b.in; !http1.Complete(data, old) && len(data) < responseHeadBytes {
			return
		}
	}
	for gen := b.gen; b.gen == gen && b.phase == responseHead; {
		ok, err := l.resp.Parse(data, responseHeadBytes)
		switch {
		case err != nil:
			l.backFailed(b, upstream.ErrBadResponse)
			return
		case !ok:
			if len(b.in) == 0 {
				l.keep(b, data)
			}
			return
		case l.resp.Status >= 200 || l.resp.Status == 101:
			l.startResponse(b, data)
			return
		}
		l.interim(b, data)
		if b.gen != gen {
			return
		}
		if len(b.in) > 0 {
			l.used(b, l.resp.Size)
			data = b.in
		} else {
			data = data[l.resp.Size:]
		}
		if len(data) == 0 {
			return
		}
	}
}

// interim passes on an interim response, but for 100 (Continue): the client did not ask for it.
func (l *loop) interim(b *conn, data []byte) {
	if l.resp.Status == 100 {
		return
	}
	head := append(l.head[:0], "HTTP/1.1"...)
	head = append(head, l.resp.Reason...)
	head = append(head, "\r\n"...)
	head = l.resp.AppendFields(head, data)
	head = append(head, "\r\n"...)
	l.head = head[:0]
	if !l.write(b.peer, head) {
		l.abort(b.peer)
	}
}

// startResponse passes on the head in l.resp, which is at the start of data, and what follows it.
func (l *loop) startResponse(b *conn, data []byte) {
	x, resp := b.x, &l.resp
	if resp.Status == 101 && !x.upgrade {
		l.backFailed(b, upstream.ErrBadResponse)
		return
	}
	in := b.in // data may be in it
	b.in = nil
	defer l.putBuffer(in)
	x.ep.Answered(l.now-x.began, l.now)
	x.status, x.started, x.reusable = int32(resp.Status), true, !resp.Close
	x.frame(resp)
	head := append(l.head[:0], "HTTP/1.1"...)
	head = append(head, resp.Reason...)
	head = append(head, "\r\n"...)
	head = resp.AppendFields(head, data)
	head = l.appendFraming(head, x, resp)
	head = append(head, "\r\n"...)
	l.wheel.set(x.front, never)
	b.phase = responseBody
	if resp.Status == 101 {
		l.startRelay(x, head, data[resp.Size:])
	} else {
		l.passOn(x, data[resp.Size:], head)
	}
	l.head = head[:0]
}

// frame notes how the body's end is found.
func (x *exchange) frame(resp *http1.Response) {
	switch {
	case resp.Bodyless(x.head):
		x.framing = none
	case resp.Chunked:
		x.framing = chunked
	case resp.Length >= 0:
		x.framing, x.rest = sized, resp.Length
	default:
		x.framing, x.reusable = untilClose, false
	}
}

func (l *loop) appendFraming(head []byte, x *exchange, resp *http1.Response) []byte {
	switch {
	case resp.Status == 101:
		return append(head, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case x.framing == untilClose || resp.Chunked && resp.Status != 204:
		head = append(head, "Transfer-Encoding: chunked\r\n"...)
	case resp.Length >= 0:
		head = append(head, "Content-Length: "...)
		head = strconv.AppendInt(head, resp.Length, 10)
		head = append(head, "\r\n"...)
	}
	if x.lastly || x.front.site.closing {
		x.lastly = true
		head = append(head, "Connection: close\r\n"...)
	}
	return head
}

// passOn writes head, if any, and data, the next part of the response's body, to the client.
func (l *loop) passOn(x *exchange, data, head []byte) {
	n, done, err := x.takeResponse(data)
	c := x.front
	x.out += int64(n)
	ok := true
	switch {
	case err != nil:
		l.abort(c)
		return
	case x.framing == untilClose && n > 0:
		head = strconv.AppendInt(head, int64(n), 16)
		head = append(head, "\r\n"...)
		ok = l.write(c, head, data[:n], crlf)
	case n > 0 && len(head) > 0 && n <= copyUpTo:
		ok = l.write(c, append(head, data[:n]...))
	case n > 0 && len(head) > 0:
		ok = l.write(c, head, data[:n])
	case n > 0:
		ok = l.write(c, data[:n])
	case len(head) > 0:
		ok = l.write(c, head)
	}
	switch {
	case !ok:
		l.abort(c)
	case done:
		x.reusable = x.reusable && n == len(data)
		l.complete(x)
	case c.blocked():
		l.due(c, l.srv.cfg.Limits.Stall)
	}
}

var (
	crlf      = []byte("\r\n")
	lastChunk = []byte("0\r\n\r\n")
)

// takeResponse returns how much of p belongs to the response's body, and whether the body ends there.
func (x *exchange) takeResponse(p []byte) (n int, done bool, err error) {
	switch x.framing {
	case none:
		return 0, true, nil
	case sized:
		n = int(min(x.rest, int64(len(p))))
		x.rest -= int64(n)
		return n, x.rest == 0, nil
	case chunked:
		return x.parts.Scan(p)
	}
	return len(p), false, nil
}

// backEnd deals with a replica that closed the connection.
func (l *loop) backEnd(b *conn) {
	x := b.x
	switch {
	case b.phase != responseBody:
		l.backFailed(b, upstream.ErrBroken)
	case x.framing == untilClose:
		if !l.write(x.front, lastChunk) {
			l.abort(x.front)
			return
		}
		l.complete(x)
	default:
		l.abort(x.front) // the client sees that the response is cut off
	}
}
