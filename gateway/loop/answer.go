package loop

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/holdfast/holdfast/gateway/access"
	"github.com/holdfast/holdfast/gateway/http1"
	"github.com/holdfast/holdfast/gateway/upstream"
)

// answer gives c the gateway's own answer, without its body when the request was a HEAD. The connection goes on when again
// is true.
func (l *loop) answer(c *conn, a upstream.Answer, head, again bool) {
	again = again && !c.site.closing
	out := append(l.head[:0], "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(a.Status), 10)
	out = append(out, ' ')
	out = append(out, http.StatusText(a.Status)...)
	out = append(out, "\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(a.Text)+1), 10)
	if a.RetryAfter > 0 {
		out = append(out, "\r\nRetry-After: "...)
		out = strconv.AppendInt(out, int64(a.RetryAfter), 10)
	}
	if !again {
		out = append(out, "\r\nConnection: close"...)
	}
	out = append(out, "\r\n\r\n"...)
	if !head {
		out = append(out, a.Text...)
		out = append(out, '\n')
	}
	l.head = out[:0]
	if !l.write(c, out) {
		l.closeFront(c)
		return
	}
	l.nextRequest(c, !again)
}

// refuse answers a request that is not understood, and ends the connection: nothing after it can be trusted.
func (l *loop) refuse(c *conn, err *http1.Error) {
	l.answer(c, upstream.Answer{Status: err.Status, Text: err.Text}, false, false)
}

// fail answers x's request, which no replica answered.
func (l *loop) fail(x *exchange, err error) {
	c, be := x.front, x.backend.Desc()
	a := upstream.Failure(be.App+"/"+be.Service, err)
	x.status, x.reusable = int32(a.Status), false
	if x.entry != nil {
		x.entry.Error = err.Error()
	}
	again, head := x.sentAll && !x.lastly, x.head
	l.finish(x)
	l.drop(x)
	l.answer(c, a, head, again)
}

// badBody ends an exchange whose client sent a malformed body.
func (l *loop) badBody(x *exchange, err *http1.Error) {
	c, started := x.front, x.started
	if started {
		l.abort(c)
		return
	}
	x.status, x.reusable = int32(err.Status), false
	l.finish(x)
	l.drop(x)
	l.refuse(c, err)
}

// abort closes a client's connection at once, and ends what it is at.
func (l *loop) abort(c *conn) {
	if x := c.x; x != nil {
		x.reusable = false
		l.finish(x)
		l.drop(x)
	}
	l.closeFront(c)
}

// note makes the access log's entry of x, if there is a log.
func (l *loop) note(x *exchange, req *http1.Request, c *conn) {
	if l.srv.cfg.Access == nil {
		return
	}
	x.entry = &access.Entry{
		Start: time.Now(), Client: c.client.String(), Method: string(req.Method), Host: string(req.Host),
		Path: string(req.Target), App: x.route.Backend.App, Service: x.route.Backend.Service,
	}
}

func (l *loop) log(x *exchange, took time.Duration) {
	if !l.srv.cfg.Access.Wants(int(x.status)) {
		return
	}
	e := x.entry
	e.Status, e.In, e.Out, e.Took, e.Tries = int(x.status), x.in, x.out, took, int(x.tries)
	if x.last != nil {
		e.Release, e.Replica = x.last.Release, x.last.Replica.ID
	}
	l.srv.cfg.Access.Write(e)
}

// appendHead appends the request's head as the replica gets it.
func appendHead(to []byte, req *http1.Request, data []byte, x *exchange, client netip.AddrPort) []byte {
	to = append(to, req.Method...)
	to = append(to, ' ')
	if x.route.Strip {
		to = append(to, x.route.StripPath(string(req.Path))...)
		to = append(to, req.Target[len(req.Path):]...)
	} else {
		to = append(to, req.Target...)
	}
	to = append(to, " HTTP/1.1\r\n"...)
	to = req.AppendFields(to, data)
	switch {
	case req.Chunked:
		to = append(to, "Transfer-Encoding: chunked\r\n"...)
	case req.Sized:
		to = append(to, "Content-Length: "...)
		to = strconv.AppendInt(to, req.Length, 10)
		to = append(to, "\r\n"...)
	}
	if x.upgrade {
		to = append(to, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	}
	return appendForwarded(to, req.Host, client.Addr())
}

// appendForwarded appends who the client is, and the end of the head.
func appendForwarded(to, host []byte, client netip.Addr) []byte {
	to = append(to, "X-Forwarded-For: "...)
	to = client.AppendTo(to)
	to = append(to, "\r\nX-Forwarded-Host: "...)
	to = append(to, host...)
	to = append(to, "\r\nX-Forwarded-Proto: http\r\nForwarded: for="...)
	if client.Is6() {
		to = append(to, `"[`...)
		to = client.AppendTo(to)
		to = append(to, `]"`...)
	} else {
		to = client.AppendTo(to)
	}
	to = append(to, `;host="`...)
	to = append(to, host...)
	return append(to, "\";proto=http\r\n\r\n"...)
}

func isWebSocket(protocol []byte) bool {
	const want = "websocket"
	if len(protocol) != len(want) {
		return false
	}
	for i := range want {
		if protocol[i]|0x20 != want[i] {
			return false
		}
	}
	return true
}
