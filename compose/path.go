package compose

import (
	"strconv"
	"strings"
)

// keyPath is where something is in a Compose file: keys, and decimal indices of list items.
type keyPath []string

// at returns the path below p.
func (p keyPath) at(parts ...any) keyPath {
	out := append(keyPath(nil), p...)
	for _, part := range parts {
		switch v := part.(type) {
		case int:
			out = append(out, strconv.Itoa(v))
		case string:
			out = append(out, v)
		}
	}
	return out
}

// String renders "services.web.ports[0].target".
func (p keyPath) String() string {
	var b strings.Builder
	for i, part := range p {
		switch {
		case i > 0 && isIndex(part):
			b.WriteString("[" + part + "]")
		case i > 0:
			b.WriteString("." + part)
		default:
			b.WriteString(part)
		}
	}
	return b.String()
}

func isIndex(s string) bool {
	_, err := strconv.ParseUint(s, 10, 31)
	return err == nil
}

// lookup returns the value at p in a tree of maps and lists.
func lookup(tree any, p keyPath) (any, bool) {
	for _, part := range p {
		switch v := tree.(type) {
		case map[string]any:
			next, ok := v[part]
			if !ok {
				return nil, false
			}
			tree = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			tree = v[i]
		default:
			return nil, false
		}
	}
	return tree, true
}
