package compose

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/holdfast/holdfast"
	"github.com/xhit/go-str2duration/v2"
)

// reader takes the values out of a mapping of x-holdfast, and complains of what it does not know.
type reader struct {
	e     *entry
	where []any
	m     map[string]any
	known []string
}

// read returns a reader of v, which must be a mapping.
func (e *entry) read(where []any, v any) *reader {
	m, ok := v.(map[string]any)
	if !ok {
		e.bad(where, "must be a mapping")
	}
	return &reader{e: e, where: where, m: m}
}

func (r *reader) at(parts ...any) []any { return append(append([]any(nil), r.where...), parts...) }

// get returns the value of a key and remembers that the key is known.
func (r *reader) get(key string) (any, bool) {
	r.known = append(r.known, key)
	v, ok := r.m[key]
	return v, ok
}

func (r *reader) text(key string) string {
	v, ok := r.get(key)
	if !ok {
		return ""
	}
	s, isText := v.(string)
	if !isText {
		r.e.bad(r.at(key), "must be a string")
	} else if s == "" {
		r.e.bad(r.at(key), "is empty")
	}
	return s
}

func (r *reader) flag(key string) bool {
	v, ok := r.get(key)
	if !ok {
		return false
	}
	switch v := v.(type) {
	case bool:
		return v
	case string:
		if v == "true" || v == "false" {
			return v == "true"
		}
	}
	r.e.bad(r.at(key), "must be true or false")
	return false
}

// number reads a whole number between low and high; text of digits is one too, since variables are text.
func (r *reader) number(key string, low, high int) (int, bool) {
	v, ok := r.get(key)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(fmt.Sprint(v))
	if err != nil || fmt.Sprint(n) != fmt.Sprint(v) || n < low || n > high {
		r.e.bad(r.at(key), "must be a whole number from %d to %d", low, high)
		return low, false
	}
	return n, true
}

// duration reads a duration, or returns otherwise.
func (r *reader) duration(key string, otherwise holdfast.Duration, zero bool) holdfast.Duration {
	v, ok := r.get(key)
	if !ok {
		return otherwise
	}
	text, isText := v.(string)
	d, err := parseDuration(text)
	if !isText || err != nil || d < 0 || d == 0 && !zero {
		r.e.bad(r.at(key), "must be a duration such as 500ms, 10s or 1m30s")
		return otherwise
	}
	return d
}

func parseDuration(text string) (holdfast.Duration, error) {
	d, err := str2duration.ParseDuration(text)
	return holdfast.Duration(d), err
}

// texts reads a list of strings.
func (r *reader) texts(key string) []string {
	v, ok := r.get(key)
	if !ok {
		return nil
	}
	list, isList := v.([]any)
	if !isList {
		r.e.bad(r.at(key), "must be a list of strings")
		return nil
	}
	out := []string{}
	for i, item := range list {
		s, isText := item.(string)
		if !isText || s == "" {
			r.e.bad(r.at(key, i), "must be a string that is not empty")
			continue
		}
		out = append(out, s)
	}
	return out
}

// done complains of keys that nothing asked for.
func (r *reader) done() {
	for _, key := range sortedKeys(r.m) {
		if !slices.Contains(r.known, key) {
			r.e.bad(r.at(key), "unknown key%s", didYouMean(key, r.known))
		}
	}
}
