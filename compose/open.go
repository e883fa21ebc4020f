package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
	"go.yaml.in/yaml/v4"
)

// open finds and reads the files, settles the environment and parses the YAML.
func (l *loading) open() error {
	if n := l.opt.ProjectName; n != "" && loader.NormalizeProjectName(n) != n {
		return holdfast.Errorf(holdfast.ErrInvalid,
			"invalid app name %q: use lower-case letters, digits, - and _, with a letter or digit first", n)
	}
	var opts *cli.ProjectOptions
	var err error
	quietly(func(string) {}, func() { opts, err = l.cliOptions() })
	if err != nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "%s", plainError(err))
	}
	l.env = opts.Environment
	if l.dir, err = opts.GetWorkingDir(); err != nil {
		return fmt.Errorf("find project directory: %w", err)
	}
	l.profiles = l.opt.Profiles
	if len(l.profiles) == 0 && l.env["COMPOSE_PROFILES"] != "" {
		for p := range strings.SplitSeq(l.env["COMPOSE_PROFILES"], ",") {
			l.profiles = append(l.profiles, strings.TrimSpace(p))
		}
	}
	if len(opts.ConfigPaths) == 0 {
		return holdfast.Errorf(holdfast.ErrNotFound,
			"no Compose file in %s or above: write a compose.yaml or name one with -f", l.dir)
	}
	return l.read(opts.ConfigPaths)
}

func (l *loading) cliOptions() (*cli.ProjectOptions, error) {
	return cli.NewProjectOptions(l.opt.Files,
		cli.WithWorkingDirectory(l.opt.ProjectDir),
		cli.WithEnv(l.opt.Env),
		cli.WithEnvFiles(l.opt.EnvFiles...),
		cli.WithDotEnv,
		cli.WithConfigFileEnv,
		cli.WithDefaultConfigPath,
		// again: only now is the project directory known, when it comes from the files
		cli.WithEnvFiles(l.opt.EnvFiles...),
		cli.WithDotEnv,
	)
}

// plainError is err's text with the library's own words taken off.
func plainError(err error) string {
	return strings.TrimPrefix(err.Error(), "failed to ")
}

// read reads and parses the main files, then what they include and extend.
func (l *loading) read(names []string) error {
	l.files = &files{extended: map[string][]*document{}}
	l.details = types.ConfigDetails{WorkingDir: l.dir, Environment: types.Mapping(maps.Clone(l.env))}
	for _, name := range names {
		abs := name
		if name != "-" {
			var err error
			if abs, err = filepath.Abs(name); err != nil {
				return fmt.Errorf("find %s: %w", name, err)
			}
		}
		data, err := readSource(abs, l.opt.Stdin)
		if err != nil {
			return readError(name, err)
		}
		l.details.ConfigFiles = append(l.details.ConfigFiles, types.ConfigFile{Filename: abs, Content: data})
		docs := l.parse(displayName(name), abs, l.dir, data, mainFile, l.env)
		l.files.docs = append(reversed(docs), l.files.docs...)
	}
	l.follow()
	return nil
}

func readError(name string, err error) error {
	kind := holdfast.KindOf(err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return holdfast.Errorf(holdfast.ErrNotFound, "Compose file %s does not exist", displayName(name))
	case kind != nil:
		return holdfast.Errorf(kind, "read Compose file %s: %w", displayName(name), err)
	}
	return fmt.Errorf("read Compose file %s: %w", displayName(name), err)
}

func reversed(docs []*document) []*document {
	out := make([]*document, 0, len(docs))
	for i := len(docs) - 1; i >= 0; i-- {
		out = append(out, docs[i])
	}
	return out
}

// follow parses what the documents include and extend, and what those do in turn. Included documents are found
// after the ones that include them.
func (l *loading) follow() {
	seen := map[string]bool{}
	for i := 0; i < len(l.files.docs) && i < 1000; i++ {
		doc := l.files.docs[i]
		l.followExtends(doc, 0)
		l.followIncludes(doc, seen)
	}
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
			if abs == doc.file {
				l.fileProblem(doc, item.Line, in, holdfast.ErrInvalid, "the file includes itself")
				l.broken = true
				continue
			}
			if key := doc.file + "\x00" + abs; seen[key] {
				continue
			} else {
				seen[key] = true
			}
			l.include(doc, item.Line, in, abs, dir, envFiles)
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
	l.files.docs = append(l.files.docs, reversed(l.parse(displayName(abs), abs, dir, data, includedFile, env))...)
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
	docs := l.files.docs
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

// fileProblem records a problem at a known line.
func (l *loading) fileProblem(doc *document, line int, at keyPath, kind error, reason string) {
	l.problems = append(l.problems, Problem{File: doc.name, Line: line, Path: at.String(), Reason: reason, Kind: kind})
}

// missing says why a file that another one names cannot be read.
func missing(what, abs string, err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("%s does not exist: %s", what, displayName(abs))
	}
	return fmt.Sprintf("%s cannot be read: %s", what, err)
}

// remote reports whether a file name is one that Compose fetches from elsewhere.
func remote(name string) bool {
	return strings.Contains(name, "://") || strings.HasPrefix(name, "git@")
}

// substitute interpolates text, or returns it as it is when that fails: that is reported where the scalar is checked.
func substitute(text string, env map[string]string) string {
	out := text
	quietly(func(string) {}, func() {
		if s, err := template.Substitute(text, mapping(env)); err == nil {
			out = s
		}
	})
	return out
}

func mapping(env map[string]string) template.Mapping {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}
