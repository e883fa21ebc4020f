package compose

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

// open finds and reads the files, settles the environment and parses the YAML.
func (l *loading) open() error {
	if err := checkAppName(l.opt.ProjectName, ""); err != nil {
		return err
	}
	var opts *cli.ProjectOptions
	var err error
	quietly(func(string) {}, func() { opts, err = l.cliOptions() })
	if err != nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "%s", plainError(err))
	}
	l.env = opts.Environment
	if l.opt.ProjectName == "" {
		if err := checkAppName(l.env["COMPOSE_PROJECT_NAME"], " in COMPOSE_PROJECT_NAME"); err != nil {
			return err
		}
	}
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

func checkAppName(name, where string) error {
	if loader.NormalizeProjectName(name) == name {
		return nil
	}
	return holdfast.Errorf(holdfast.ErrInvalid,
		"invalid app name %q%s: use lower-case letters, digits, - and _, with a letter or digit first", name, where)
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
		before := len(l.problems)
		docs := l.parse(displayName(name), abs, l.dir, data, mainFile, l.env)
		if len(docs) == 0 && len(l.problems) == before {
			l.problems = append(l.problems, Problem{File: displayName(name), Reason: "the file is empty", Kind: holdfast.ErrInvalid})
			l.broken = true
		}
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
	quietly(func(string) {}, func() { out = expand(text, env) })
	return out
}

// expand is substitute inside of quietly.
func expand(text string, env map[string]string) string {
	if s, err := template.Substitute(text, mapping(env)); err == nil {
		return s
	}
	return text
}

func mapping(env map[string]string) template.Mapping {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}
