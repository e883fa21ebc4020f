package compose

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"github.com/holdfast/holdfast"
	"go.yaml.in/yaml/v4"
)

// checker walks the YAML of one document along the schema, so that each mistake is known by its line.
type checker struct {
	l    *loading
	doc  *document
	seen map[visit]bool
	cuts []cut
	at   keyPath // of the scalar being interpolated
	line int
}

type visit struct {
	node  *yaml.Node
	where string
}

// cut is a node that is to be left out of what is merged, for it is wrong.
type cut struct {
	parent *yaml.Node
	node   *yaml.Node
}

// report records a mistake at a line of the document.
func (c *checker) report(line int, at keyPath, format string, args ...any) {
	c.l.fileProblem(c.doc, line, at, holdfast.ErrInvalid, fmt.Sprintf(format, args...))
	c.l.cutPaths = append(c.l.cutPaths, at.String())
}

// node checks one node against a shape and reports whether it fits. pat is the path as Keys writes it.
func (c *checker) node(n *yaml.Node, s shape, at keyPath, pat string) bool {
	n = deref(n)
	if n == nil || n.Tag == "!reset" {
		return true
	}
	if !c.enter(n, at) {
		return true
	}
	value, ok := c.value(n, at)
	if !ok {
		return false
	}
	s = choose(n, s)
	if types := s.types(); !fits(n, types) {
		if n.Tag == "!!null" && c.l.elsewhere(at, c.doc) {
			return true // a key without a value leaves that of another file alone
		}
		c.report(n.Line, at, "must be %s, not %s", article(types), describe(n))
		return false
	}
	switch n.Kind {
	case yaml.MappingNode:
		return c.mapping(n, s, at, pat)
	case yaml.SequenceNode:
		return c.list(n, s, at, pat)
	}
	return c.scalar(n, value, s, at, pat)
}

// maxVisits bounds the walk: aliases of aliases make small files endless.
const maxVisits = 200_000

// enter reports whether a node is still to be checked at a path.
func (c *checker) enter(n *yaml.Node, at keyPath) bool {
	v := visit{n, at.String()}
	if c.seen[v] || len(at) > 64 || len(c.seen) > maxVisits {
		return false
	}
	c.seen[v] = true
	if len(c.seen) > maxVisits {
		c.report(n.Line, at[:1], "aliases make the file too large: more than %d values", maxVisits)
		c.l.broken = true
	}
	return true
}

// choose returns the alternative of s that a node is meant to be: the one of its type.
func choose(n *yaml.Node, s shape) shape {
	s = s.def()
	for range 8 {
		alts := append(s.sub("oneOf"), s.sub("anyOf")...)
		i := slices.IndexFunc(alts, func(alt shape) bool { return fits(n, alt.types()) })
		if len(s.properties()) > 0 || i < 0 {
			break
		}
		s = alts[i]
	}
	return s
}

// value interpolates a scalar.
func (c *checker) value(n *yaml.Node, at keyPath) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" || !strings.Contains(n.Value, "$") || c.doc.env == nil {
		return n.Value, true
	}
	c.at, c.line = at, n.Line
	out, err := template.Substitute(n.Value, mapping(c.doc.env))
	if err != nil {
		c.report(n.Line, at, "%s", templateError(n.Value, err))
		return "", false
	}
	return out, true
}

func templateError(text string, err error) string {
	if strings.HasPrefix(strings.ToLower(err.Error()), "invalid template") {
		return fmt.Sprintf("%q is not a valid variable: write ${NAME}, ${NAME:-default} or ${NAME:?message}, and $$ for a dollar", text)
	}
	return plainError(err)
}

// fits reports whether a node is of one of the JSON types.
func fits(n *yaml.Node, types []string) bool {
	if len(types) == 0 {
		return true
	}
	has := func(t string) bool { return slices.Contains(types, t) }
	switch n.Kind {
	case yaml.MappingNode:
		return has("object")
	case yaml.SequenceNode:
		return has("array")
	}
	switch n.Tag {
	case "!!null":
		return has("null")
	case "!!bool":
		return has("boolean")
	case "!!int":
		return has("integer") || has("number")
	case "!!float":
		return has("number")
	}
	return has("string")
}

// article renders types for a reader: "a string or a list".
func article(types []string) string {
	words := map[string]string{
		"string": "a string", "integer": "a whole number", "number": "a number", "boolean": "true or false",
		"array": "a list", "object": "a mapping", "null": "",
	}
	var out []string
	better := slices.ContainsFunc(types, func(t string) bool { return t == "integer" || t == "number" || t == "boolean" })
	for _, t := range types {
		if t == "string" && better {
			continue // text is taken where a number is meant, for variables are text
		}
		if w := words[t]; w != "" && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return orList(out)
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty: write something there, or take the key out"
	case len(n.Value) > 40:
		return n.Value[:40] + "…"
	}
	return n.Value
}

func (c *checker) mapping(n *yaml.Node, s shape, at keyPath, pat string) bool {
	props := s.properties()
	keyed, pattern := s.keyed()
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		if line, ok := lines[name]; ok && name != "<<" {
			c.report(key.Line, at.at(name), "is written twice: first on line %d", line)
			c.cuts = append(c.cuts, cut{n, value})
			continue
		}
		lines[name] = key.Line
		if name == "<<" {
			c.merged(value, s, at, pat)
			continue
		}
		below := at.at(name)
		switch sub, ok := props[name]; {
		case key.Tag != "!!str" && key.Kind == yaml.ScalarNode && len(props) > 0:
			c.report(key.Line, below, "a key must be text: put it in quotes")
			c.cuts = append(c.cuts, cut{n, value})
		case ok:
			if !c.node(value, sub, below, join(pat, name)) {
				c.cuts = append(c.cuts, cut{n, value})
			}
		case strings.HasPrefix(name, "x-"):
			c.extension(value, below)
		case keyed != nil && pattern.MatchString(name):
			if !c.node(value, keyed, below, join(pat, "*")) {
				c.cuts = append(c.cuts, cut{n, value})
			}
		case keyed != nil:
			c.report(key.Line, below, "is not a name: use letters, digits, dots, - and _")
			c.cuts = append(c.cuts, cut{n, value})
		case s.closed():
			c.report(key.Line, below, "unknown key%s", didYouMean(name, sortedKeys(props)))
			c.cuts = append(c.cuts, cut{n, value})
		}
	}
	return c.required(n, s, at, pat)
}

// merged checks what a merge key brings in.
func (c *checker) merged(value *yaml.Node, s shape, at keyPath, pat string) {
	value = deref(value)
	if value == nil {
		return
	}
	if value.Kind == yaml.SequenceNode {
		for _, item := range value.Content {
			c.merged(item, s, at, pat)
		}
		return
	}
	if value.Kind == yaml.MappingNode {
		c.node(value, s, at, pat)
	}
}

// extension interpolates what is in an extension, so that bad variables are found.
func (c *checker) extension(n *yaml.Node, at keyPath) {
	n = deref(n)
	if n == nil || !c.enter(n, at) {
		return
	}
	switch n.Kind {
	case yaml.ScalarNode:
		c.value(n, at)
	case yaml.SequenceNode:
		for i, item := range n.Content {
			c.extension(item, at.at(i))
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			c.extension(n.Content[i+1], at.at(n.Content[i].Value))
		}
	}
}

// required checks that keys without which nothing can be done are there; other files may bring them along, so only
// list items and what is nowhere else is asked.
func (c *checker) required(n *yaml.Node, s shape, at keyPath, pat string) bool {
	if len(at) == 3 && at[0] == "jobs" && at[2] == "triggers" &&
		!c.l.elsewhere(at.at("manual"), nil) && !c.l.elsewhere(at.at("schedule"), nil) {
		c.report(n.Line, at, "needs schedule, or manual: true for a job that is only run by hand")
		return false
	}
	if key, container := containerKey(pat); container && key == "volumes.[]" && !c.mountSource(n, at) {
		return false
	}
	list, _ := s["required"].([]any)
	for _, v := range list {
		name, _ := v.(string)
		if child, _, _ := step(n, name, ""); child == nil && !c.l.elsewhere(at.at(name), nil) {
			c.report(n.Line, at, "needs %s", name)
			return false
		}
	}
	return true
}

// mountSource checks what compose-go would stop at: a bind mount without a source, a mount without a target.
func (c *checker) mountSource(n *yaml.Node, at keyPath) bool {
	kind, _, _ := step(n, "type", "")
	source, _, _ := step(n, "source", "")
	target, _, _ := step(n, "target", "")
	switch {
	case target == nil || target.Value == "":
		c.report(n.Line, at, "needs a target: an absolute path in the container")
		return false
	case kind != nil && (kind.Value == "bind" || kind.Value == "image") && (source == nil || source.Value == ""):
		c.report(n.Line, at, "a mount of type %s needs a source", kind.Value)
		return false
	}
	return true
}

// elsewhere reports whether any document but one, or what it extends, has the path.
func (l *loading) elsewhere(p keyPath, but *document) bool {
	for _, doc := range l.files.docs {
		if doc != but && l.files.descend(doc, p, "", 0).depth == len(p) {
			return true
		}
	}
	return false
}

func (c *checker) list(n *yaml.Node, s shape, at keyPath, pat string) bool {
	items, _ := s["items"].(map[string]any)
	for i, item := range n.Content {
		if items != nil && !c.node(item, items, at.at(i), join(pat, "[]")) {
			c.cuts = append(c.cuts, cut{n, item})
		}
	}
	return true
}

// forms say what keys with a pattern want.
var forms = map[string]string{
	"pull_policy":    ": use always, missing, never, build, refresh, daily, weekly or every_<duration>",
	"container_name": ": letters, digits, _, . and -, a letter or digit first",
}

func join(pat, part string) string { return strings.TrimPrefix(pat+"."+part, ".") }

func (c *checker) scalar(n *yaml.Node, value string, s shape, at keyPath, pat string) bool {
	if n.Tag == "!!null" {
		return true
	}
	if words, ok := s["enum"].([]any); ok && !slices.Contains(words, any(value)) {
		var known []string
		for _, w := range words {
			known = append(known, fmt.Sprint(w))
		}
		c.report(n.Line, at, "unknown word %q: use %s", value, orList(known))
		return false
	}
	if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(value) {
		c.report(n.Line, at, "%q is not of the form that this key has%s", value, forms[at[len(at)-1]])
		return false
	}
	if why := scalarProblem(pat, value, n.Tag == "!!str", s.types()); why != "" {
		c.report(n.Line, at, "%s", why)
		return false
	}
	return true
}
