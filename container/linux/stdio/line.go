// Package stdio moves what containers print into log files, in the format of container.Log, and to those who are
// attached. Nothing here ever holds up a container for longer than a write to a file takes: what cannot be kept is
// dropped and counted.
//
// May import only package container and the standard library.
package stdio

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// MaxLine is the longest text of one entry; longer lines go on in the next.
const MaxLine = 16 << 10

// appendEntry appends one line of the log format.
func appendEntry(b []byte, now time.Time, stream string, partial bool, text []byte) []byte {
	b = append(b, `{"t":"`...)
	b = now.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","s":"`...)
	b = append(b, stream...)
	if partial {
		b = append(b, `","p":true,"m":`...)
	} else {
		b = append(b, `","m":`...)
	}
	b = appendString(b, text)
	return append(b, '}', '\n')
}

// appendString appends text as a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendString(b, text []byte) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, size = utf8.DecodeRune(text[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		b = append(b, text[start:i]...)
		b = appendEscape(b, c)
		i += size
		start = i
	}
	b = append(b, text[start:]...)
	return append(b, '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch {
	case c >= utf8.RuneSelf:
		return append(b, "\ufffd"...)
	case c == '"' || c == '\\':
		return append(b, '\\', c)
	case c == '\t':
		return append(b, '\\', 't')
	case c == '\r':
		return append(b, '\\', 'r')
	}
	b = append(b, `\u00`...)
	if c < 16 {
		b = append(b, '0')
	}
	return strconv.AppendUint(b, uint64(c), 16)
}

// cut returns how much of a line that is too long to keep goes into one entry: up to MaxLine, whole characters.
func cut(text []byte) int {
	n := min(len(text), MaxLine)
	for back := range utf8.UTFMax {
		if n == len(text) || n-back <= 0 || utf8.RuneStart(text[n-back]) {
			return n - back
		}
	}
	return n
}
