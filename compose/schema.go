package compose

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/schema"
)

// shape is a node of the JSON schema that compose-go embeds.
type shape map[string]any

// composeShape parses that schema once.
var composeShape = sync.OnceValue(func() shape {
	var root shape
	if err := json.Unmarshal([]byte(schema.Schema), &root); err != nil {
		panic("compose: the embedded schema is not JSON: " + err.Error())
	}
	return root
})

// def follows a shape's $ref.
func (s shape) def() shape {
	ref, ok := s["$ref"].(string)
	if !ok {
		return s
	}
	defs, _ := composeShape()["$defs"].(map[string]any)
	d, _ := defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	return shape(d).def()
}

// sub returns the shapes under a keyword that has a list of them.
func (s shape) sub(keyword string) []shape {
	list, _ := s[keyword].([]any)
	var out []shape
	for _, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, shape(m).def())
		}
	}
	return out
}

// properties gathers the keys of s and of all that it is made of.
func (s shape) properties() map[string]shape {
	out := map[string]shape{}
	for _, part := range s.sub("allOf") {
		for k, v := range part.properties() {
			out[k] = v
		}
	}
	props, _ := s["properties"].(map[string]any)
	for k, v := range props {
		if m, ok := v.(map[string]any); ok {
			out[k] = m
		}
	}
	return out
}

// keyed returns the shape of keys that users choose, and the pattern that they match.
func (s shape) keyed() (shape, *regexp.Regexp) {
	patterns, _ := s["patternProperties"].(map[string]any)
	for pattern, v := range patterns {
		if m, ok := v.(map[string]any); ok && pattern != "^x-" {
			return m, regexp.MustCompile(pattern)
		}
	}
	if m, ok := s["additionalProperties"].(map[string]any); ok {
		return m, regexp.MustCompile("")
	}
	return nil, nil
}

// closed reports whether keys that s does not name are mistakes.
func (s shape) closed() bool {
	return s["additionalProperties"] == false || s["unevaluatedProperties"] == false
}

// types are the JSON types that s allows; none means all.
func (s shape) types() []string {
	switch t := s["type"].(type) {
	case string:
		return []string{t}
	case []any:
		var out []string
		for _, v := range t {
			if w, ok := v.(string); ok {
				out = append(out, w)
			}
		}
		return out
	}
	for _, keyword := range []string{"oneOf", "anyOf", "allOf"} {
		var out []string
		for _, alt := range s.sub(keyword) {
			out = append(out, alt.types()...)
		}
		if len(out) > 0 {
			slices.Sort(out)
			return slices.Compact(out)
		}
	}
	return nil
}
