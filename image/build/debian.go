package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/holdfast/holdfast"
)

// extractVariant unpacks packages and runs none of their scripts: small and quick. What the scripts would have done is
// in fixups.
const extractVariant = "extract"

// extractBase is what an image of the extract variant has beside its packages: a shell with the usual tools, users,
// name service, and the file system's skeleton.
var extractBase = []string{
	"base-files", "base-passwd", "coreutils", "dash", "debianutils", "findutils", "grep", "hostname", "libc-bin",
	"mawk", "netbase", "sed",
}

// debianConfig is how servers expect to be run.
var debianConfig = v1.Config{
	Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"},
	Cmd: []string{"/bin/sh"},
}

var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?([=/][A-Za-z0-9.+~:-]+)?$`)
	userName    = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	noPackage   = regexp.MustCompile(`Unable to locate package (\S+)|Package '?(\S+?)'? has no installation candidate|Couldn't find any package by (?:glob|regex) '(\S+)'`)
)

var variants = []string{extractVariant, "custom", "essential", "apt", "minbase", "buildd", "important", "standard"}

func (b *builder) debian(ctx context.Context, repo string, src holdfast.DebianSource) (Result, error) {
	host, err := readHost("/")
	if err != nil {
		return Result{}, err
	}
	if err := checkDebian(&src, host); err != nil {
		return Result{}, err
	}
	copies, newest, err := hashCopies(src.Copy)
	if err != nil {
		return Result{}, err
	}
	src.Copy = nil // its content counts, not where it comes from
	tag, err := key("debian", src, copies, fixupScript, setupScript)
	if err != nil {
		return Result{}, err
	}
	return b.cached(repo, tag, func(out string) error {
		if len(copies) > 0 && len(src.Run) == 0 {
			return b.debianWithFiles(ctx, repo, src, copies, out)
		}
		d := &debianBuild{builder: b, src: src, host: host, copies: copies, epoch: newest}
		return d.run(ctx, out)
	})
}

// debianWithFiles makes an image of two layers: the packages, which are taken from the cache, and the user's files. To
// change a page is so a matter of milliseconds. Commands, which may work on the files, do not allow it.
func (b *builder) debianWithFiles(ctx context.Context, repo string, src holdfast.DebianSource, copies []copied, out string) error {
	whole := &builder{Options: b.Options}
	whole.Has = nil // the layer is needed, wherever its image is
	base, err := whole.debian(ctx, repo, src)
	if err != nil {
		return err
	}
	f, err := os.Open(base.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	layers, err := readLayout(f)
	if err != nil {
		return fmt.Errorf("read cached image %s: %w", base.Path, err)
	}
	files, err := newLayerFile(b.CacheDir)
	if err != nil {
		return err
	}
	defer files.remove()
	if err := writeCopies(files, copies); err != nil {
		return err
	}
	top, err := files.finish()
	if err != nil {
		return err
	}
	return writeLayout(out, debianConfig, append(layers, top)...)
}

// checkDebian checks src and fills in defaults.
func checkDebian(src *holdfast.DebianSource, host debianHost) error {
	if len(src.Packages) == 0 {
		return holdfast.Errorf(holdfast.ErrInvalid, "debian.packages is empty")
	}
	for _, p := range src.Packages {
		if !packageName.MatchString(p) {
			return holdfast.Errorf(holdfast.ErrInvalid, "debian.packages: %q is not a package name", p)
		}
	}
	for name, id := range src.Users {
		if !userName.MatchString(name) || id < 0 || id > 1<<31 {
			return holdfast.Errorf(holdfast.ErrInvalid, "debian.users: %q with id %d", name, id)
		}
	}
	for to := range src.Copy {
		if !path.IsAbs(to) || path.Clean(to) != strings.TrimSuffix(to, "/") || strings.ContainsRune(to, 0) {
			return holdfast.Errorf(holdfast.ErrInvalid, "debian.copy: %q is not a clean absolute path", to)
		}
	}
	if src.Suite == "" {
		src.Suite = host.suite
	}
	if !regexp.MustCompile(`^[a-z][a-z0-9.-]*$`).MatchString(src.Suite) {
		return holdfast.Errorf(holdfast.ErrInvalid, "debian.suite: %q is not a suite", src.Suite)
	}
	if src.Variant == "" {
		src.Variant = extractVariant
	}
	if !slices.Contains(variants, src.Variant) {
		return holdfast.Errorf(holdfast.ErrInvalid, "debian.variant: %q is not one of %s", src.Variant, strings.Join(variants, ", "))
	}
	src.Packages = slices.Compact(slices.Sorted(slices.Values(src.Packages)))
	return nil
}

// debianBuild is one run of mmdebstrap.
type debianBuild struct {
	*builder
	src    holdfast.DebianSource
	host   debianHost
	copies []copied
	epoch  int64
}

func (d *debianBuild) run(ctx context.Context, out string) error {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return holdfast.Errorf(holdfast.ErrUnsupported, "images from Debian packages need mmdebstrap: apt-get install mmdebstrap")
	}
	cache, err := filepath.Abs(d.CacheDir)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, "debian-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	args, err := d.arguments(work)
	if err != nil {
		return err
	}
	file, err := newLayerFile(work)
	if err != nil {
		return err
	}
	defer file.remove()
	cmd := exec.Command("mmdebstrap", args...)
	cmd.Stdout = file
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", d.epoch), "LC_ALL=C.UTF-8")
	output, err := d.builder.run(ctx, cmd)
	if err != nil {
		return explainDebian(err, output, d.src.Suite)
	}
	l, err := file.finish()
	if err != nil {
		return err
	}
	return writeLayout(out, debianConfig, l)
}

// arguments writes the files that mmdebstrap needs into work and returns its arguments.
func (d *debianBuild) arguments(work string) ([]string, error) {
	sources := d.host.sources(d.src.Suite)
	lists, err := key("lists", sources)
	if err != nil {
		return nil, err
	}
	load, save := listsScripts(filepath.Join(filepath.Dir(work), "apt-lists-"+lists))
	files := map[string]string{
		"apt.sources": sources, "apt.conf": d.host.aptConf, "load.sh": load, "save.sh": save,
		"setup.sh": setupScript, "fixup.sh": fixupScript, "finish.sh": d.finishScript(),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o700); err != nil {
			return nil, err
		}
	}
	packages := d.src.Packages
	hook := "--customize-hook="
	args := []string{"--variant=" + d.src.Variant, "--format=tar", "--setup-hook=" + filepath.Join(work, "load.sh")}
	if d.src.Variant == extractVariant {
		packages = append(slices.Clone(extractBase), packages...)
		hook = "--extract-hook=" // the last hook of this variant
		args = append(args, "--setup-hook="+filepath.Join(work, "setup.sh"))
	}
	args = append(args,
		"--include="+strings.Join(packages, ","),
		"--aptopt="+filepath.Join(work, "apt.conf"),
		hook+filepath.Join(work, "save.sh"),
		hook+filepath.Join(work, "fixup.sh"),
		hook+filepath.Join(work, "finish.sh"),
	)
	for _, c := range cleaned {
		args = append(args, "--dpkgopt=path-exclude="+c)
	}
	args = append(args, "--dpkgopt=path-include=/usr/share/doc/*/copyright")
	return append(args, d.src.Suite, "-", filepath.Join(work, "apt.sources")), nil
}

// explainDebian names the package that does not exist.
func explainDebian(err error, output []string, suite string) error {
	for _, line := range output {
		m := noPackage.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := strings.Trim(m[1]+m[2]+m[3], "'\"")
		return holdfast.Errorf(holdfast.ErrInvalid, "package %q does not exist in Debian %s", name, suite)
	}
	if errors.Is(err, holdfast.ErrInvalid) {
		for _, line := range output {
			if strings.Contains(line, "Could not resolve") || strings.Contains(line, "Failed to fetch") || strings.Contains(line, "Could not connect") {
				return holdfast.Errorf(holdfast.ErrUnavailable, "%w", err)
			}
		}
	}
	return err
}
