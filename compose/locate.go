package compose

import (
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// find returns where path was written: in the file that won the merge, or as near to it as there is something. hint,
// when not "", is text that the list item has: merging may have given it another index.
func (f *files) find(p keyPath, hint string) position {
	var best match
	for _, doc := range f.docs {
		if m := f.descend(doc, p, hint, 0); m.depth > best.depth || (m.depth == best.depth && m.sure && !best.sure) {
			best = m
		}
	}
	return best.pos
}

// docOf returns the document that keyPath was written in.
func (f *files) docOf(p keyPath) *document {
	var best match
	for _, doc := range f.docs {
		if m := f.descend(doc, p, "", 0); m.depth > best.depth {
			best = m
		}
	}
	return best.doc
}

// match is how far a document has a path.
type match struct {
	depth int
	sure  bool // a list item was found by its text
	pos   position
	doc   *document
}

// descend follows p in doc, and in what its services extend.
func (f *files) descend(doc *document, p keyPath, hint string, hops int) match {
	m := match{doc: doc}
	node := doc.root
	var service *yaml.Node
	for i, part := range p {
		next, line, sure := step(node, part, hint)
		if next == nil {
			break
		}
		m.depth, m.pos, m.sure = i+1, position{doc.name, line}, sure
		node = next
		if i == 1 && (p[0] == "services" || p[0] == "jobs") {
			service = node
		}
	}
	if service == nil || m.depth == len(p) || hops > 16 {
		return m
	}
	for _, base := range f.bases(doc, service) {
		if b := f.descend(base.doc, keyPath{p[0], base.service}.at(anys(p[2:])...), hint, hops+1); b.depth > m.depth {
			m = b
		}
	}
	return m
}

func anys(p keyPath) []any {
	out := make([]any, len(p))
	for i, part := range p {
		out[i] = part
	}
	return out
}

type base struct {
	doc     *document
	service string
}

// bases returns the documents and the service that a service's extends names.
func (f *files) bases(doc *document, service *yaml.Node) []base {
	file, name := extendsOf(service)
	if name == "" {
		return nil
	}
	if file == "" {
		return []base{{doc, name}}
	}
	var out []base
	for _, d := range f.extended[absIn(doc.dir, file)] {
		out = append(out, base{d, name})
	}
	return out
}

// extendsOf reads a service's extends key.
func extendsOf(service *yaml.Node) (file, name string) {
	node, _, _ := step(service, "extends", "")
	if node == nil {
		return "", ""
	}
	if node.Kind == yaml.ScalarNode {
		return "", node.Value
	}
	if n, _, _ := step(node, "service", ""); n != nil {
		name = n.Value
	}
	if n, _, _ := step(node, "file", ""); n != nil {
		file = n.Value
	}
	return file, name
}

func absIn(dir, file string) string {
	if filepath.IsAbs(file) {
		return filepath.Clean(file)
	}
	return filepath.Join(dir, file)
}

// step returns the child of node that part names and the line where it is written.
func step(node *yaml.Node, part, hint string) (child *yaml.Node, line int, sure bool) {
	node = deref(node)
	if node == nil {
		return nil, 0, false
	}
	switch node.Kind {
	case yaml.MappingNode:
		return mapStep(node, part, nil)
	case yaml.SequenceNode:
		return listStep(node, part, hint)
	}
	return nil, 0, false
}

// mapStep looks a key up in a mapping, and then in what is merged into it. merged holds the mappings looked at.
func mapStep(node *yaml.Node, key string, merged map[*yaml.Node]bool) (*yaml.Node, int, bool) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return deref(node.Content[i+1]), node.Content[i].Line, false
		}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value != "<<" {
			continue
		}
		if merged == nil {
			merged = map[*yaml.Node]bool{node: true}
		}
		if child, line := mergeStep(deref(node.Content[i+1]), key, merged); child != nil {
			return child, line, false
		}
	}
	return nil, 0, false
}

func mergeStep(from *yaml.Node, key string, merged map[*yaml.Node]bool) (*yaml.Node, int) {
	if from == nil {
		return nil, 0
	}
	all := []*yaml.Node{from}
	if from.Kind == yaml.SequenceNode {
		all = from.Content
	}
	for _, m := range all {
		m = deref(m)
		if m == nil || m.Kind != yaml.MappingNode || merged[m] {
			continue
		}
		merged[m] = true
		if child, line, _ := mapStep(m, key, merged); child != nil {
			return child, line
		}
	}
	return nil, 0
}

func listStep(node *yaml.Node, part, hint string) (*yaml.Node, int, bool) {
	index, err := strconv.Atoi(part)
	if err != nil {
		for _, item := range node.Content {
			if item = deref(item); item.Kind == yaml.ScalarNode && named(item.Value, part) {
				return item, item.Line, false
			}
		}
		return nil, 0, false
	}
	if hint != "" {
		if index < len(node.Content) && index >= 0 && contains(node.Content[index], hint, 0) {
			return deref(node.Content[index]), node.Content[index].Line, true
		}
		for _, item := range node.Content {
			if contains(item, hint, 0) {
				return deref(item), item.Line, true
			}
		}
	}
	if index < 0 || index >= len(node.Content) {
		return nil, 0, false
	}
	return deref(node.Content[index]), node.Content[index].Line, false
}

// named reports whether a list item of the form NAME, NAME=value or NAME:value has the name.
func named(item, name string) bool {
	rest, ok := strings.CutPrefix(item, name)
	return ok && (rest == "" || rest[0] == '=' || rest[0] == ':')
}

func contains(node *yaml.Node, text string, depth int) bool {
	node = deref(node)
	if node == nil || depth > 4 {
		return false
	}
	if node.Kind == yaml.ScalarNode {
		return strings.Contains(node.Value, text)
	}
	for _, c := range node.Content {
		if contains(c, text, depth+1) {
			return true
		}
	}
	return false
}

func deref(node *yaml.Node) *yaml.Node {
	for i := 0; node != nil && node.Kind == yaml.AliasNode; i++ {
		if i > 16 {
			return nil
		}
		node = node.Alias
	}
	return node
}
