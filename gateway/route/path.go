package route

import "strings"

// Host returns the host of a Host header or authority as the table knows it: without port and trailing dot, in lower
// case. It does not allocate when host is in lower case already.
func Host(host string) string {
	if strings.HasPrefix(host, "[") {
		if end := strings.IndexByte(host, ']'); end > 0 {
			return lower(host[1:end])
		}
		return lower(host)
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return lower(strings.TrimSuffix(host, "."))
}

func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}

// Path returns the path of a request as it is matched: percent-encoded unreserved characters decoded (RFC 3986
// §6.2.2.2) and dot segments removed (§5.2.4). It does not allocate when the path is in that form already. A path never
// climbs above "/", and an encoded slash stays encoded: it separates no segments.
func Path(path string) string {
	if isNormal(path) {
		return path
	}
	return removeDots(decodeUnreserved(path))
}

func isNormal(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '%':
			return false
		case '.':
			if path[i-1] == '/' {
				return false
			}
		}
	}
	return true
}

func decodeUnreserved(path string) string {
	if strings.IndexByte(path, '%') < 0 {
		return path
	}
	var b strings.Builder
	b.Grow(len(path))
	for i := 0; i < len(path); i++ {
		if c, ok := unescape(path[i:]); ok && isUnreserved(c) {
			b.WriteByte(c)
			i += 2
			continue
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

func unescape(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	hi, ok1 := unhex(s[1])
	lo, ok2 := unhex(s[2])
	return hi<<4 | lo, ok1 && ok2
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func removeDots(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	kept := segments[:0]
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".", "..":
			if s == ".." && len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, s)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// StripPath returns path without the route's prefix, starting with "/", when the route strips; otherwise path unchanged. It
// may return a normalised path when the path as sent matched only in that form.
func (r *Route) StripPath(path string) string {
	if !r.Strip || r.Path == "/" {
		return path
	}
	if !hasPrefix(path, r.Path) {
		path = Path(path)
		if !hasPrefix(path, r.Path) {
			return path
		}
	}
	if path = path[len(r.Path):]; path == "" {
		return "/"
	}
	return path
}

// hasPrefix reports whether path is prefix or below it: whole segments.
func hasPrefix(path, prefix string) bool {
	if prefix == "/" {
		return true
	}
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}
