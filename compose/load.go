package compose

import (
	"context"
	"io"
	"runtime"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

// Options say what to load.
type Options struct {
	// Files are the Compose files, merged in order; "-" is Stdin. None: COMPOSE_FILE of Env, or compose.yaml (with
	// compose.override.yaml) in ProjectDir, the current directory or the nearest parent that has one.
	Files []string
	// ProjectName is the app's name. "": COMPOSE_PROJECT_NAME of Env, the files' name key, or the directory's name.
	ProjectName string
	// ProjectDir is what relative paths are relative to. "": the directory of the first file.
	ProjectDir string
	// EnvFiles replace the .env file of the project directory.
	EnvFiles []string
	// Profiles to activate. None: COMPOSE_PROFILES of Env.
	Profiles []string
	// Services, when not empty, narrows the app to these services and jobs and what they depend on.
	Services []string
	// Env is the environment for interpolation, "NAME=value"; usually os.Environ().
	Env []string
	// Stdin is read for the file "-". nil: the process's.
	Stdin io.Reader
	// Platform is what images run on. "": "linux/" and this program's architecture.
	Platform string
}

// Project is a loaded app.
type Project struct {
	Name       string
	Dir        string                          // absolute project directory
	Files      []string                        // absolute Compose files that were merged, in order
	Deployment holdfast.Deployment             // what to send; images are not pinned yet
	Sources    map[string]holdfast.ImageSource // by service: how to make images that no registry has
	Notes      []Note                          // sorted by place

	defaulted map[string][]string // by service: paths in the Spec that the file does not set
}

// Load reads Compose files. The result depends on nothing but the options and the files that they name, and is the
// same each time. An error of the files' content is Problems, which holds all that is wrong; other errors are about
// reading files.
func Load(ctx context.Context, opt Options) (*Project, error) {
	if opt.Platform == "" {
		opt.Platform = "linux/" + runtime.GOARCH
	}
	registerRaw()
	l := &loading{opt: opt}
	if err := l.open(); err != nil {
		return nil, err
	}
	l.checkFiles()
	if !l.broken {
		l.merge(ctx)
	}
	var out *Project
	if l.project != nil {
		l.checkNames()
		l.selectServices()
		out = l.convert()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(l.problems) > 0 {
		return nil, l.problems.sorted().limited()
	}
	out.Notes = sortNotes(l.notes)
	return out, nil
}

// loading is the state of one Load.
type loading struct {
	opt      Options
	dir      string            // project directory
	env      map[string]string // for interpolation
	profiles []string
	details  types.ConfigDetails
	files    *files
	problems Problems
	notes    []Note
	// broken: the files cannot be merged at all.
	broken bool
	// cutPaths had mistakes that were cut out before merging, so what the merged model lacks there is not to be
	// complained of.
	cutPaths []string
	cuts     []cut
	checking *checker // set while a document is checked
	// model is the merged files in compose-go's canonical form, before its normalisation: what the user wrote.
	model   map[string]any
	refused Problems       // by keys, of all services
	remarks []remark       // of keys, of all services
	project *types.Project // nil when merging failed
}

// has reports whether the files set the key at p.
func (l *loading) has(p keyPath) bool {
	_, ok := lookup(l.model, p)
	return ok
}
