package build

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast/holdfast"
)

// tool is a program that builds Dockerfiles.
type tool struct {
	name string
	// check, when not nil, is a command that succeeds when the program can work, its daemon runs.
	check []string
	// steps returns the commands that build j and leave a docker archive at j.archive.
	steps func(j job) [][]string
}

// tools in the order in which they are tried.
var tools = []tool{
	{name: "buildah", steps: buildahSteps},
	{name: "buildctl", check: []string{"debug", "workers"}, steps: buildctlSteps},
	{name: "docker", check: []string{"version"}, steps: dockerSteps},
}

// job is one build from a Dockerfile, with the files that it needs made.
type job struct {
	holdfast.BuildSource
	dir        string // scratch; gone after the build
	state      string // of the builder, kept
	dockerfile string // path, or "" for the context's own
	archive    string // path of the result
	name       string // a reference for the builder's own use, the same for each build of one repository
}

// external builds a Dockerfile with the first tool that is installed and works.
func (b *builder) external(ctx context.Context, repo string, src holdfast.BuildSource) (Result, error) {
	t, err := chooseTool(ctx)
	if err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp(b.CacheDir, "build-*")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	j, err := b.newJob(repo, src, dir)
	if err != nil {
		return Result{}, err
	}
	env, err := j.environment()
	if err != nil {
		return Result{}, err
	}
	for _, args := range t.steps(j) {
		cmd := exec.Command(t.name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), env...)
		cmd.SysProcAttr = ownMounts()
		if _, err := b.run(ctx, cmd); err != nil {
			return Result{}, err
		}
	}
	id, err := archiveID(j.archive)
	if err != nil {
		return Result{}, fmt.Errorf("read what %s built: %w", t.name, err)
	}
	return b.cached(repo, id[:32], func(out string) error { return os.Rename(j.archive, out) })
}

// ownMounts gives a builder a mount namespace of its own where we may, so that nothing it mounts outlives it.
func ownMounts() *unix.SysProcAttr {
	if os.Geteuid() != 0 {
		return &unix.SysProcAttr{}
	}
	return &unix.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
}

func chooseTool(ctx context.Context) (tool, error) {
	var reasons []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.name); err != nil {
			continue
		}
		if t.check == nil {
			return t, nil
		}
		out, err := exec.CommandContext(ctx, t.name, t.check...).CombinedOutput()
		if err == nil {
			return t, nil
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		reasons = append(reasons, fmt.Sprintf("; %s does not work: %s", t.name, lines[len(lines)-1]))
	}
	return tool{}, holdfast.Errorf(holdfast.ErrUnsupported,
		"images from a Dockerfile need a builder: apt-get install buildah (or buildctl with buildkitd, or docker)%s", strings.Join(reasons, ""))
}

func (b *builder) newJob(repo string, src holdfast.BuildSource, dir string) (job, error) {
	state, err := filepath.Abs(b.CacheDir)
	if err != nil {
		return job{}, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return job{}, err
	}
	id, err := key(repo)
	if err != nil {
		return job{}, err
	}
	j := job{
		BuildSource: src, dir: dir, state: filepath.Join(state, "builder"),
		archive: filepath.Join(dir, "image.tar"), name: "holdfast.local/build/" + id + ":latest",
	}
	if err := j.findDockerfile(); err != nil {
		return job{}, err
	}
	return j, nil
}

func isURL(context string) bool {
	return strings.Contains(context, "://") || strings.HasPrefix(context, "git@")
}

func (j *job) findDockerfile() error {
	if j.DockerfileInline != "" {
		j.dockerfile = filepath.Join(j.dir, "Dockerfile")
		return os.WriteFile(j.dockerfile, []byte(j.DockerfileInline), 0o600)
	}
	if isURL(j.Context) {
		j.dockerfile = j.Dockerfile
		return nil
	}
	name := j.Dockerfile
	if name == "" {
		name = "Dockerfile"
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(j.Context, name)
	}
	if _, err := os.Stat(name); err != nil {
		return holdfast.Errorf(holdfast.ErrInvalid, "open Dockerfile: %w", err)
	}
	j.dockerfile = name
	return nil
}

// registriesConf is where buildah finds its registries; see environment.
func (j job) registriesConf() string { return filepath.Join(j.dir, "registries.conf") }

// environment returns what a builder needs beside the user's own environment. Buildah is to pull as docker does: names
// without a registry from Docker Hub, and without TLS from registries on this machine. What the user configured stays.
func (j job) environment() ([]string, error) {
	main, err := os.ReadFile("/etc/containers/registries.conf")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := strings.Contains(string(main), "[registries.") // a format that cannot be added to
	if os.Getenv("CONTAINERS_REGISTRIES_CONF") != "" || old {
		return nil, nil
	}
	var text strings.Builder
	if !strings.Contains("\n"+string(main), "\nunqualified-search-registries") {
		text.WriteString("unqualified-search-registries = [\"docker.io\"]\n")
	}
	text.Write(main)
	dockerfile, err := os.ReadFile(j.dockerfile)
	if err != nil && !isURL(j.Context) {
		return nil, err
	}
	mentioned := localRegistry.FindAllString(string(dockerfile)+" "+strings.Join(slices.Sorted(maps.Values(j.Args)), " "), -1)
	slices.Sort(mentioned)
	for _, host := range slices.Compact(mentioned) {
		fmt.Fprintf(&text, "\n[[registry]]\nlocation = %q\ninsecure = true\n", strings.TrimSuffix(host, "/"))
	}
	err = os.WriteFile(j.registriesConf(), []byte(text.String()), 0o600)
	return []string{"CONTAINERS_REGISTRIES_CONF=" + j.registriesConf()}, err
}

// archiveID returns the image ID in hexadecimal of the only image in a docker archive.
func archiveID(archive string) (string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer f.Close()
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return "", fmt.Errorf("it has no manifest.json")
		}
		if err != nil {
			return "", err
		}
		if h.Name != "manifest.json" {
			continue
		}
		var images []struct{ Config string }
		if err := json.NewDecoder(tr).Decode(&images); err != nil {
			return "", err
		}
		if len(images) != 1 {
			return "", fmt.Errorf("it has %d images", len(images))
		}
		id := strings.TrimSuffix(path.Base(images[0].Config), ".json")
		if len(id) != 64 {
			return "", fmt.Errorf("its config is named %q", images[0].Config)
		}
		return id, nil
	}
}
