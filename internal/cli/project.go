package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast/holdfast"
)

// project loads the Compose files that the flags name, or those here, narrowed to services when there are any.
func (a *app) project(ctx context.Context, services []string) (*Project, error) {
	opt := a.load
	opt.ProjectName = a.name
	opt.Services = services
	p, err := a.Load(ctx, opt)
	if err != nil {
		return nil, err
	}
	for _, n := range p.Notes {
		a.note("%s %s", a.errStyle().yellow("note:"), n)
	}
	return p, nil
}

// appName is the app that a command is about: --app, HOLDFAST_APP, that of the Compose files, or the only one there is.
func (a *app) appName(ctx context.Context) (string, error) {
	name, err := a.maybeAppName(ctx)
	if err != nil || name != "" {
		return name, err
	}
	apps, err := a.api().Apps(ctx)
	if err != nil {
		return "", err
	}
	switch len(apps) {
	case 0:
		return "", holdfast.Errorf(holdfast.ErrNotFound, "no app is deployed: start one with holdfast up")
	case 1:
		return apps[0].Name, nil
	}
	names := make([]string, len(apps))
	for i, v := range apps {
		names[i] = v.Name
	}
	return "", usage("which app? name one with --app: %s", strings.Join(names, ", "))
}

// maybeAppName is the app that flags, environment or the Compose files here name, or "".
func (a *app) maybeAppName(ctx context.Context) (string, error) {
	if a.name != "" {
		return a.name, nil
	}
	if name := a.Getenv("HOLDFAST_APP"); name != "" {
		return name, nil
	}
	if len(a.load.Files) == 0 && a.Getenv("COMPOSE_FILE") == "" && !composeFileNear(a.load.ProjectDir) {
		return "", nil
	}
	opt := a.load
	p, err := a.Load(ctx, opt)
	if err != nil {
		// A file that does not load now may have been deployed before: its app can still be named.
		return "", errors.Join(err, usage("name the app with --app to do without the Compose file"))
	}
	return p.Name, nil
}

// composeFileNear reports whether dir or a parent of it has a Compose file under one of its usual names.
func composeFileNear(dir string) bool {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	for {
		for _, name := range []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return true
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return false
		}
		dir = parent
	}
}
