package compose

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/holdfast/holdfast"
	"go.yaml.in/yaml/v4"
)

// follow parses what the documents include and extend, and what those do in turn. Included documents are found
// after the ones that include them.
func (l *loading) follow() {
	seen := map[string]bool{}
	for i := 0; i < len(l.files.docs) && i < 1000; i++ {
		doc := l.files.docs[i]
		l.followExtends(doc, 0)
		l.followIncludes(doc, seen)
	}
	for _, doc := range l.files.docs {
		l.extendsCycles(doc)
	}
}

// arrows renders a chain of files.
func arrows(files []string) string {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = displayName(f)
	}
	return strings.Join(names, " → ")
}

// extendsCycles complains of services of doc that extend themselves in the end, once for each circle.
func (l *loading) extendsCycles(doc *document) {
	told := map[*yaml.Node]bool{}
	for _, section := range []string{"services", "jobs"} {
		entries, _, _ := step(doc.root, section, "")
		if entries == nil || entries.Kind != yaml.MappingNode {
			continue
		}
		for i := 0; i+1 < len(entries.Content); i += 2 {
			l.extendsCycle(doc, section, entries.Content[i].Value, told)
		}
	}
}

func (l *loading) extendsCycle(doc *document, section, name string, told map[*yaml.Node]bool) {
	var nodes []*yaml.Node
	names := []string{name}
	for d, n := doc, name; d != nil; {
		service, _, _ := step(orEmpty(d.root), section, "")
		service, _, _ = step(orEmpty(service), n, "")
		if service == nil || told[service] {
			return
		}
		if slices.Contains(nodes, service) {
			break
		}
		nodes = append(nodes, service)
		d2 := d
		d, n = nil, ""
		for _, b := range l.files.bases(d2, service) {
			d, n = b.doc, b.service
		}
		names = append(names, n)
		if d == nil {
			return
		}
	}
	for _, n := range nodes {
		told[n] = true
	}
	at := keyPath{section, name, "extends"}
	pos := l.files.find(at, "")
	l.fileProblem(doc, pos.line, at, holdfast.ErrInvalid, "extends itself: "+strings.Join(names, " → "))
	l.broken = true
}

func orEmpty(n *yaml.Node) *yaml.Node {
	if n == nil {
		return &yaml.Node{}
	}
	return n
}

func (l *loading) followIncludes(doc *document, seen map[string]bool) {
	list, _, _ := step(doc.root, "include", "")
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for i, item := range list.Content {
		in := keyPath{"include"}.at(i)
		paths, dir, envFiles := includeItem(deref(item))
		for j, p := range paths {
			p = substitute(p, doc.env)
			if remote(p) {
				l.fileProblem(doc, item.Line, in, holdfast.ErrUnsupported,
					fmt.Sprintf("%q is not a file here: fetch it and include the copy", p))
				l.broken = true
				continue
			}
			abs := absIn(doc.dir, p)
			if j == 0 {
				dir = includeDir(doc, substitute(dir, doc.env), abs)
			}
			if chain := append(slices.Clone(doc.chain), doc.file); slices.Contains(chain, abs) {
				l.fileProblem(doc, item.Line, in, holdfast.ErrInvalid, "the file includes itself: "+arrows(append(chain, abs)))
				l.broken = true
				continue
			}
			if key := doc.file + "\x00" + abs; !seen[key] {
				seen[key] = true
				l.include(doc, item.Line, in, abs, dir, envFiles)
			}
		}
	}
}

func (l *loading) include(doc *document, line int, in keyPath, abs, dir string, envFiles []string) {
	data, err := readSource(abs, nil)
	if err != nil {
		l.fileProblem(doc, line, in, holdfast.ErrInvalid, missing("file to include", abs, err))
		l.broken = true
		return
	}
	env := l.includeEnv(doc, line, in, dir, envFiles)
	docs := l.parse(displayName(abs), abs, dir, data, includedFile, env)
	for _, d := range docs {
		d.chain = append(slices.Clone(doc.chain), doc.file)
	}
	l.files.docs = append(l.files.docs, reversed(docs)...)
}

// includeEnv is the environment that an included file is interpolated with.
func (l *loading) includeEnv(doc *document, line int, in keyPath, dir string, files []string) map[string]string {
	var found []string
	for _, f := range files {
		if f = substitute(f, doc.env); f != "/dev/null" {
			found = append(found, absIn(doc.dir, f))
		}
	}
	if len(files) == 0 && isFile(filepath.Join(dir, ".env")) {
		found = []string{filepath.Join(dir, ".env")}
	}
	env := maps.Clone(doc.env)
	more, err := dotenv.GetEnvFromFile(env, found)
	if err != nil {
		l.fileProblem(doc, line, in.at("env_file"), holdfast.ErrInvalid, plainError(err))
		l.broken = true
		return env
	}
	for k, v := range more {
		if _, ok := env[k]; !ok {
			env[k] = v
		}
	}
	return env
}

func includeDir(doc *document, dir, first string) string {
	if dir == "" {
		return filepath.Dir(first)
	}
	return absIn(doc.dir, dir)
}

// includeItem reads one entry of include.
func includeItem(item *yaml.Node) (paths []string, dir string, envFiles []string) {
	if item.Kind == yaml.ScalarNode {
		return []string{item.Value}, "", nil
	}
	if n, _, _ := step(item, "path", ""); n != nil {
		paths = scalars(n)
	}
	if n, _, _ := step(item, "project_directory", ""); n != nil {
		dir = n.Value
	}
	if n, _, _ := step(item, "env_file", ""); n != nil {
		envFiles = scalars(n)
	}
	return paths, dir, envFiles
}

// scalars returns a scalar, or the scalars of a list.
func scalars(n *yaml.Node) []string {
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}
	}
	var out []string
	for _, item := range n.Content {
		if item = deref(item); item.Kind == yaml.ScalarNode {
			out = append(out, item.Value)
		}
	}
	return out
}

// followExtends parses the files that services of doc extend, and checks that what is extended is there.
func (l *loading) followExtends(doc *document, hops int) {
	for _, section := range []string{"services", "jobs"} {
		entries, _, _ := step(doc.root, section, "")
		if entries == nil || entries.Kind != yaml.MappingNode {
			continue
		}
		for i := 0; i+1 < len(entries.Content); i += 2 {
			l.followExtend(doc, section, entries.Content[i].Value, deref(entries.Content[i+1]), hops)
		}
	}
}

func (l *loading) followExtend(doc *document, section, name string, service *yaml.Node, hops int) {
	if service == nil || service.Kind != yaml.MappingNode {
		return
	}
	file, base := extendsOf(service)
	file, base = substitute(file, doc.env), substitute(base, doc.env)
	if base == "" {
		return
	}
	_, line, _ := step(service, "extends", "")
	at := keyPath{section, name, "extends"}
	docs := append([]*document{doc}, l.files.docs...)
	if file != "" {
		if remote(file) {
			l.fileProblem(doc, line, at, holdfast.ErrUnsupported, fmt.Sprintf("%q is not a file here: fetch it and name the copy", file))
			l.broken = true
			return
		}
		abs := absIn(doc.dir, file)
		var err error
		if docs, err = l.extendedFile(doc, abs, hops); err != nil {
			l.fileProblem(doc, line, at, holdfast.ErrInvalid, missing("file to extend from", abs, err))
			l.broken = true
			return
		}
	}
	for _, d := range docs {
		if found, _, _ := step(d.root, section, ""); found != nil {
			if s, _, _ := step(found, base, ""); s != nil {
				return
			}
		}
	}
	where := ""
	if file != "" {
		where = " in " + file
	}
	l.fileProblem(doc, line, at, holdfast.ErrInvalid, fmt.Sprintf("no service %q%s to extend", base, where))
	l.broken = true
}

func (l *loading) extendedFile(from *document, abs string, hops int) ([]*document, error) {
	if docs, ok := l.files.extended[abs]; ok {
		return docs, nil
	}
	data, err := readSource(abs, nil)
	if err != nil {
		return nil, err
	}
	docs := l.parse(displayName(abs), abs, filepath.Dir(abs), data, extendedFile, from.env)
	l.files.extended[abs] = docs
	if hops < 32 {
		for _, d := range docs {
			l.followExtends(d, hops+1)
		}
	}
	return docs, nil
}
