package compose

import (
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/holdfast/holdfast"
)

// volumes are those that entries mount.
func (l *loading) volumes(all []*entry) map[string]holdfast.Volume {
	used := map[string]bool{}
	for _, e := range all {
		for _, m := range e.spec.Mounts {
			if m.Type == "volume" {
				used[m.Source] = true
			}
		}
	}
	out := map[string]holdfast.Volume{}
	for _, key := range sortedKeys(l.project.Volumes) {
		if !used[key] {
			l.note(keyPath{"volumes", key}, "", "no service mounts it, so it is not made")
			continue
		}
		out[key] = l.volumeOf(key, l.project.Volumes[key])
	}
	return out
}

func (l *loading) volumeOf(key string, v types.VolumeConfig) holdfast.Volume {
	where := keyPath{"volumes", key}
	if v.Driver != "" && v.Driver != "local" {
		l.unsupported(where.at("driver"), "", "driver %q is not done: leave it out, or use local with driver_opts", v.Driver)
	}
	for _, opt := range sortedKeys(v.DriverOpts) {
		if !slices.Contains([]string{"type", "o", "device"}, opt) {
			l.invalid(where.at("driver_opts", opt), "", "the local driver has no such option: type, o and device are known%s",
				didYouMean(opt, []string{"type", "device"}))
		}
	}
	if len(v.DriverOpts) > 0 && v.DriverOpts["device"] == "" {
		l.invalid(where.at("driver_opts"), "", "needs device: what to mount")
	}
	return holdfast.Volume{
		Name: v.Name, Driver: v.Driver, DriverOpts: nonEmpty(v.DriverOpts), External: bool(v.External), Labels: nonEmpty(v.Labels),
	}
}
