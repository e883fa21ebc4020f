package compose

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/types"
)

// resolveEnvironment reads the entry's env_file and label_file into its environment and labels, and those of its
// pre_start hooks.
func (e *entry) resolveEnvironment() {
	ok := e.checkEnvFiles(at(), &e.c.ContainerSpec)
	for i := range e.c.PreStart {
		if e.sets("pre_start", i, "env_file") {
			ok = e.checkEnvFiles(at("pre_start", i), &e.c.PreStart[i].ContainerSpec) && ok
		}
	}
	if !ok {
		return
	}
	p := types.Project{Environment: types.Mapping(e.env), Services: types.Services{e.name: e.c}}
	resolved, err := p.WithServicesEnvironmentResolved(true)
	if err == nil {
		resolved, err = resolved.WithServicesLabelsResolved(true)
	}
	if err != nil {
		key := "env_file"
		if !e.sets(key) && e.sets("label_file") {
			key = "label_file"
		}
		e.bad(at(key), "%s", plainError(err))
		return
	}
	e.c = resolved.Services[e.name]
}

// registerRaw teaches compose-go the env_file format raw, which it leaves to its users: NAME=value as it is, without
// quotes and variables.
var registerRaw = sync.OnceFunc(func() {
	dotenv.RegisterFormat("raw", func(r io.Reader, name string, vars map[string]string, lookup func(string) (string, bool)) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		n := 0
		for line := range strings.Lines(string(data)) {
			n++
			line = strings.TrimRight(line, "\r\n")
			if text := strings.TrimSpace(line); text == "" || text[0] == '#' {
				continue
			}
			key, value, ok := strings.Cut(strings.TrimLeft(line, " \t"), "=")
			if why := envProblem(key); why != "" {
				return fmt.Errorf("read %s: line %d: %s", name, n, why)
			}
			if !ok {
				if value, ok = lookup(key); !ok {
					continue
				}
			}
			vars[key] = value
		}
		return nil
	})
})

// checkEnvFiles looks whether the files that c names can be read.
func (e *entry) checkEnvFiles(below []any, c *types.ContainerSpec) bool {
	ok := true
	for i, f := range c.EnvFiles {
		if bool(f.Required) && !e.readable(append(below, "env_file", i), f.Path, "env file") {
			ok = false
		}
		if f.Format != "" && f.Format != "raw" {
			e.bad(append(below, "env_file", i, "format"), "unknown format %q: leave it out, or use raw", f.Format)
			ok = false
		}
	}
	for i, f := range c.LabelFiles {
		if !e.readable(append(below, "label_file", i), f, "label file") {
			ok = false
		}
	}
	return ok
}

func (e *entry) readable(where []any, name, what string) bool {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		e.badItem(where, baseName(name), "%s", missing(what, name, err))
	case info.IsDir():
		e.badItem(where, baseName(name), "%s is a directory: %s", what, displayName(name))
	case !info.Mode().IsRegular():
		e.badItem(where, baseName(name), "%s is not a regular file: %s", what, displayName(name))
	case info.Size() > maxFile:
		e.badItem(where, baseName(name), "%s is larger than %d MiB: %s", what, maxFile>>20, displayName(name))
	default:
		return true
	}
	return false
}

// envList renders variables as "NAME=value", sorted; those without a value anywhere are left out, as Compose does.
func envList(vars types.MappingWithEquals) []string {
	var out []string
	for _, name := range sortedKeys(vars) {
		if v := vars[name]; v != nil {
			out = append(out, name+"="+*v)
		}
	}
	return out
}

// envProblem says what is wrong with a variable's name, or "".
func envProblem(name string) string {
	if name == "" || strings.ContainsAny(name, "=\x00 ") {
		return "a variable's name has no = and no spaces"
	}
	return ""
}
