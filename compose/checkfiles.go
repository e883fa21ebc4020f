package compose

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// checkFiles checks each file by itself against the schema, so that every mistake has its line. What is wrong is cut
// out of the main files, for the rest of them to be merged and checked as well.
func (l *loading) checkFiles() {
	quietly(func(w string) { l.unset(w) }, func() {
		for _, doc := range l.files.docs {
			l.checkDocument(doc, nil)
		}
		for _, name := range sortedKeys(l.files.extended) {
			for _, doc := range l.files.extended[name] {
				l.checkDocument(doc, l.extendedServices(doc))
			}
		}
	})
	if !l.broken && len(l.cuts) > 0 {
		l.repair()
	}
}

// checkDocument checks one document; of one that is only extended from, only the services named.
func (l *loading) checkDocument(doc *document, only []string) {
	c := &checker{l: l, doc: doc, seen: map[visit]bool{}}
	l.checking = c
	defer func() { l.checking = nil }()
	if doc.role != extendedFile {
		if !c.node(doc.root, composeShape(), nil, "") {
			l.broken = true
		}
		c.notable()
		if version, line, _ := step(doc.root, "version", ""); version != nil {
			l.notes = append(l.notes, Note{File: doc.name, Line: line, Path: "version", Message: keyTree().next["version"].key.Note})
		}
	} else {
		for _, name := range only {
			section, service, _ := strings.Cut(name, ".")
			entries, _, _ := step(doc.root, section, "")
			if entries == nil {
				continue
			}
			if n, _, _ := step(entries, service, ""); n != nil {
				defs := composeShape()["$defs"].(map[string]any)
				kind := strings.TrimSuffix(section, "s")
				c.node(n, shape(defs[kind].(map[string]any)), keyPath{section, service}, section+".*")
			}
		}
	}
	if doc.role == mainFile {
		l.cuts = append(l.cuts, c.cuts...)
	} else if len(c.cuts) > 0 {
		l.broken = true
	}
}

// notable complains of what the schema allows and compose-go objects to one at a time.
func (c *checker) notable() {
	for _, o := range []struct {
		section string
		keys    []string
	}{{"secrets", []string{"file", "environment"}}, {"configs", []string{"file", "environment", "content"}}} {
		c.each(o.section, func(name string, n *yaml.Node) { c.fileObject(o.section, name, n, o.keys) })
	}
	c.each("volumes", func(name string, n *yaml.Node) { c.external("volumes", name, n, "driver", "driver_opts", "labels") })
	c.each("networks", func(name string, n *yaml.Node) {
		c.external("networks", name, n, "driver", "driver_opts", "ipam", "internal")
	})
}

func (c *checker) each(section string, f func(name string, n *yaml.Node)) {
	entries, _, _ := step(c.doc.root, section, "")
	if entries == nil || entries.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(entries.Content); i += 2 {
		if n := deref(entries.Content[i+1]); n != nil && n.Tag != "!reset" {
			f(entries.Content[i].Value, n)
		}
	}
}

// fileObject checks that a secret or config says where its content comes from, once.
func (c *checker) fileObject(section, name string, n *yaml.Node, keys []string) {
	at := keyPath{section, name}
	if c.l.cut(at) {
		return
	}
	var has []string
	for _, key := range keys {
		if c.l.elsewhere(at.at(key), nil) {
			has = append(has, key)
		}
	}
	external := false
	if x, _, _ := step(n, "external", ""); x != nil && x.Value != "false" {
		external = true
	}
	switch {
	case len(has) > 1:
		c.report(n.Line, at, "says %s: give one", strings.Join(has, " and "))
		c.l.broken = true
	case len(has) == 0 && !external && !c.l.elsewhere(at.at("external"), nil) && !c.l.elsewhere(at.at("driver"), nil):
		c.report(n.Line, at, "says nothing of its content: give %s", orList(keys))
		c.l.broken = true
	}
}

// external checks that nothing is said of what belongs to another app.
func (c *checker) external(section, name string, n *yaml.Node, keys ...string) {
	x, _, _ := step(n, "external", "")
	if x == nil || x.Value == "false" {
		return
	}
	for _, key := range keys {
		if child, line, _ := step(n, key, ""); child != nil {
			c.report(line, keyPath{section, name, key}, "is settled by whoever made it, for it is external: take it out")
			c.cutKey(n, key)
		}
	}
}

// extendedServices returns "services.<name>" of what is extended in a document, by any other.
func (l *loading) extendedServices(doc *document) []string {
	var out []string
	all := slices.Clone(l.files.docs)
	for _, name := range sortedKeys(l.files.extended) {
		all = append(all, l.files.extended[name]...)
	}
	for _, d := range all {
		for _, section := range []string{"services", "jobs"} {
			entries, _, _ := step(d.root, section, "")
			if entries == nil || entries.Kind != yaml.MappingNode {
				continue
			}
			for i := 0; i+1 < len(entries.Content); i += 2 {
				service := deref(entries.Content[i+1])
				if service == nil || service.Kind != yaml.MappingNode {
					continue
				}
				file, name := extendsOf(service)
				file = expand(file, d.env)
				if name != "" && (file != "" && absIn(d.dir, file) == doc.file || file == "" && d == doc) {
					out = append(out, section+"."+name)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// unset turns compose-go's warning of a variable that is not set into a note with the line being checked.
func (l *loading) unset(warning string) {
	if l.checking == nil || !strings.Contains(warning, "variable is not set") {
		return
	}
	name := strings.Split(warning, `"`)
	if len(name) < 2 {
		return
	}
	l.notes = append(l.notes, Note{
		File: l.checking.doc.name, Line: l.checking.line, Path: l.checking.at.String(),
		Message: fmt.Sprintf("variable %s is not set: taken as empty", strings.Trim(name[1], `\`)),
	})
}

// repair writes the main files without what was found wrong in them.
func (l *loading) repair() {
	gone := map[*yaml.Node]bool{}
	for _, c := range l.cuts {
		gone[c.node] = true
	}
	for i := range l.details.ConfigFiles {
		f := &l.details.ConfigFiles[i]
		var out bytes.Buffer
		enc := yaml.NewEncoder(&out)
		for j := len(l.files.docs) - 1; j >= 0; j-- {
			doc := l.files.docs[j]
			if doc.role == mainFile && doc.file == f.Filename {
				prune(doc.root, gone, 0)
				if err := enc.Encode(doc.root); err != nil {
					l.broken = true
					return
				}
			}
		}
		if err := enc.Close(); err != nil {
			l.broken = true
			return
		}
		f.Content = out.Bytes()
	}
}

// prune takes nodes out of a tree.
func prune(n *yaml.Node, gone map[*yaml.Node]bool, depth int) {
	if depth > 64 {
		return
	}
	var kept []*yaml.Node
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !gone[n.Content[i+1]] {
				kept = append(kept, n.Content[i], n.Content[i+1])
			}
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if !gone[item] {
				kept = append(kept, item)
			}
		}
	default:
		return
	}
	n.Content = kept
	for _, child := range kept {
		prune(child, gone, depth+1)
	}
}

// cut reports whether something at p, below it or above it was cut out of the files.
func (l *loading) cut(p keyPath) bool {
	text := p.String()
	for _, c := range l.cutPaths {
		if within(c, text) || within(text, c) {
			return true
		}
	}
	return false
}

// within reports whether path is outer or below it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// cutKey leaves a key out of what is merged.
func (c *checker) cutKey(mapping *yaml.Node, key string) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			c.cuts = append(c.cuts, cut{mapping, mapping.Content[i+1]})
		}
	}
}
