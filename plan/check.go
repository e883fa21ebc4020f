package plan

import (
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/plan/place"
	"github.com/holdfast/holdfast/store"
)

// validName is what apps and services may be called: names become parts of replica IDs, host names and paths.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)

// check returns why d cannot be deployed whatever else there is.
func check(snap *store.Snapshot, d *holdfast.Deployment) error {
	if !validName.MatchString(d.Name) {
		return holdfast.Errorf(holdfast.ErrInvalid, "app name %q: want lower-case letters, digits, '-', '_' and '.', at most 63", d.Name)
	}
	names := make(map[string]*holdfast.Spec, len(d.Services))
	for i := range d.Services {
		spec := &d.Services[i]
		if !validName.MatchString(spec.Name) {
			return holdfast.Errorf(holdfast.ErrInvalid, "service name %q: want lower-case letters, digits, '-', '_' and '.', at most 63", spec.Name)
		}
		if names[spec.Name] != nil {
			return holdfast.Errorf(holdfast.ErrInvalid, "service %s is there twice", spec.Name)
		}
		names[spec.Name] = spec
	}
	for i := range d.Files {
		if f := &d.Files[i]; f.Name == "" || strings.Contains(f.Name, "/") || f.Digest != digestOf(f.Data) {
			return holdfast.Errorf(holdfast.ErrInvalid, "file %q: its content does not have digest %s", f.Name, f.Digest)
		}
	}
	for i := range d.Services {
		if err := checkSpec(snap, d, &d.Services[i], names); err != nil {
			return err
		}
	}
	return checkCycles(d.Services)
}

func checkSpec(snap *store.Snapshot, d *holdfast.Deployment, spec *holdfast.Spec, names map[string]*holdfast.Spec) error {
	invalid := func(format string, args ...any) error {
		return holdfast.Errorf(holdfast.ErrInvalid, "service "+spec.Name+": "+format, args...)
	}
	switch {
	case spec.Mode != holdfast.Replicated && spec.Mode != holdfast.Global && spec.Mode != holdfast.Job:
		return invalid("mode %q is none of replicated, global and job", spec.Mode)
	case spec.Replicas < 0:
		return invalid("%d replicas", spec.Replicas)
	case spec.Image == "":
		return invalid("no image")
	}
	for _, at := range spec.Networks {
		if _, ok := d.Networks[at.Network]; !ok {
			return invalid("network %s is not defined", at.Network)
		}
		if subnet := d.Networks[at.Network].Subnet; at.IPv4.IsValid() && subnet.IsValid() && !subnet.Contains(at.IPv4) {
			return invalid("address %s is outside of subnet %s of network %s", at.IPv4, subnet, at.Network)
		}
		if at.IPv4.IsValid() && (spec.Mode != holdfast.Replicated || spec.Replicas > 1) {
			return invalid("address %s is for one replica only", at.IPv4)
		}
	}
	for _, m := range spec.Mounts {
		if _, ok := d.Volumes[m.Source]; m.Type == "volume" && m.Source != "" && !ok {
			return invalid("volume %s is not defined", m.Source)
		}
	}
	for _, f := range spec.Files {
		if !hasFile(snap, d, f.Name, f.Digest) {
			return invalid("the content of file %s (%s) is missing", f.Name, f.Digest)
		}
	}
	for _, f := range spec.RouteFiles() {
		if !hasFile(snap, d, f.Name, f.Digest) {
			return invalid("the content of file %s (%s) is missing", f.Name, f.Digest)
		}
	}
	for _, dep := range spec.DependsOn {
		if names[dep.Service] == nil && !dep.Optional {
			return invalid("depends on service %s, which does not exist", dep.Service)
		}
		if c := dep.Condition; c != started && c != healthy && c != completed {
			return invalid("depends on service %s with unknown condition %q", dep.Service, c)
		}
	}
	if other, ok := strings.CutPrefix(spec.NetworkMode, "service:"); ok && names[other] == nil {
		return invalid("shares the network of service %s, which does not exist", other)
	}
	for _, trigger := range spec.Triggers {
		if _, err := parseTrigger(trigger); err != nil {
			return invalid("%v", err)
		}
	}
	if err := place.Check(spec.Placement.Constraints); err != nil {
		return invalid("%w", err)
	}
	return nil
}

func hasFile(snap *store.Snapshot, d *holdfast.Deployment, name, digest string) bool {
	if slices.ContainsFunc(d.Files, func(x holdfast.File) bool { return x.Name == name && x.Digest == digest }) {
		return true
	}
	_, there := snap.Files.Get(store.FileKey(d.Name, name, digest))
	return there
}

// checkCycles refuses services that wait for each other.
func checkCycles(specs []holdfast.Spec) error {
	deps := make(map[string][]string)
	for i := range specs {
		deps[specs[i].Name] = needs(&specs[i])
	}
	const visiting, done = 1, 2
	state := make(map[string]int)
	var visit func(name string, path []string) error
	visit = func(name string, path []string) error {
		path = append(path, name)
		if state[name] == visiting {
			return holdfast.Errorf(holdfast.ErrInvalid, "services depend on each other: %s", strings.Join(path, " → "))
		}
		if state[name] == done {
			return nil
		}
		state[name] = visiting
		for _, dep := range deps[name] {
			if err := visit(dep, path); err != nil {
				return err
			}
		}
		state[name] = done
		return nil
	}
	for i := range specs {
		if err := visit(specs[i].Name, nil); err != nil {
			return err
		}
	}
	return nil
}

// needs returns the services that must be there before spec's.
func needs(spec *holdfast.Spec) []string {
	var out []string
	for _, dep := range spec.DependsOn {
		out = append(out, dep.Service)
	}
	if other, ok := strings.CutPrefix(spec.NetworkMode, "service:"); ok {
		out = append(out, other)
	}
	return out
}
