package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/holdfast/holdfast"
)

// merge lets compose-go read the files into one model, l.model, and one project, l.project. What it objects to becomes
// a problem with a place.
func (l *loading) merge(ctx context.Context) {
	name, explicit := l.projectName()
	options := func(o *loader.Options) {
		o.SetProjectName(name, explicit)
		o.ResolvePaths = true
		o.SkipNormalization = true
		o.SkipConsistencyCheck = true
		o.SkipResolveEnvironment = true
		o.SkipResolveLabels = true
		o.Profiles = l.profiles
	}
	var err error
	quietly(func(w string) { l.warn(w) }, func() { err = l.mergeWith(ctx, options) })
	if err == nil || ctx.Err() != nil {
		return
	}
	l.project = nil
	if len(l.problems) == 0 {
		l.mergeProblem(err)
	}
}

// projectName settles the app's name as far as the options and the environment do.
func (l *loading) projectName() (string, bool) {
	if l.opt.ProjectName != "" {
		return l.opt.ProjectName, true
	}
	if n := l.env["COMPOSE_PROJECT_NAME"]; n != "" {
		return n, true
	}
	return loader.NormalizeProjectName(baseName(l.dir)), false
}

func baseName(dir string) string { return dir[strings.LastIndexByte(dir, '/')+1:] }

func (l *loading) mergeWith(ctx context.Context, options func(*loader.Options)) (err error) {
	defer func() {
		// compose-go asserts types where its schema should have said no
		if r := recover(); r != nil {
			err = fmt.Errorf("the files cannot be merged: %v", r)
		}
	}()
	model, err := loader.LoadModelWithContext(ctx, l.details, options)
	if err != nil {
		return err
	}
	name := loader.NormalizeProjectName(l.details.Environment["COMPOSE_PROJECT_NAME"])
	if name == "" {
		return errors.New("the app has no name: give it one with a top-level name key or -p")
	}
	l.model = clone(model).(map[string]any)
	l.scanKeys()
	model["name"] = name
	if model, err = loader.Normalize(model, l.details.Environment); err != nil {
		return err
	}
	opts := loader.ToOptions(&l.details, []func(*loader.Options){options})
	opts.SetProjectName(name, true)
	l.project, err = loader.ModelToProject(model, opts, l.details)
	return err
}

// clone copies a tree of maps and lists.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		for k, e := range out {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	}
	return v
}

// warn turns a warning of compose-go's into a note, but for those that the check of the files notes with their line.
func (l *loading) warn(text string) {
	if strings.Contains(text, "variable is not set") || strings.Contains(text, "`version` is obsolete") {
		return
	}
	l.notes = append(l.notes, Note{Message: text})
}

var (
	interpolateError = regexp.MustCompile(`(?s)^error while interpolating (\S+): (?:failed to cast to expected type: )?(.*)$`)
	formatError      = regexp.MustCompile(`(?s)^invalid interpolation format for (\S+)\.\n.*\n(.*)$`)
	validatingError  = regexp.MustCompile(`(?s)^validating .*?: (\S+) (.*)$`)
	pathError        = regexp.MustCompile(`^((?:services|jobs|networks|volumes|configs|secrets|models|include)[.\[]\S*[^:\s]):? (.*)$`)
	decodeError      = regexp.MustCompile(`'((?:services|jobs|networks|volumes|configs|secrets)[.\[][^']*)'`)
)

// mergeProblem gives an error of compose-go's the place that its text names.
func (l *loading) mergeProblem(err error) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) && len(joined.Unwrap()) > 1 && strings.Contains(err.Error(), "interpolat") {
		for _, e := range joined.Unwrap() {
			l.mergeProblem(e)
		}
		return
	}
	text := err.Error()
	for _, form := range []*regexp.Regexp{interpolateError, formatError, validatingError, pathError} {
		if m := form.FindStringSubmatch(text); m != nil {
			at := parsePath(m[1])
			l.invalid(at, "", "%s", strings.TrimSpace(m[2]))
			return
		}
	}
	if m := decodeError.FindStringSubmatch(text); m != nil {
		l.invalid(parsePath(m[1]), "", "%s", text)
		return
	}
	doc := l.files.docs
	name := ""
	if len(doc) > 0 {
		name = doc[0].name
	}
	l.problems = append(l.problems, Problem{File: name, Reason: text, Kind: holdfast.ErrInvalid})
}

// parsePath reads a path as compose-go writes it: services.web.ports.0, services[web].cpus, services.web.ports.[].
func parsePath(text string) keyPath {
	text = strings.NewReplacer("[", ".", "]", "").Replace(text)
	var p keyPath
	for part := range strings.SplitSeq(text, ".") {
		if part != "" {
			p = append(p, part)
		}
	}
	return p
}
