package plan

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/holdfast/holdfast"
	"github.com/holdfast/holdfast/store"
)

// Deploy returns what makes the app as d wants it: a new release of each service whose spec changed and of no other, and
// the subnets, service addresses and ports that were left open. Services that d no longer names are noted, or removed
// when d says so. A service that failed for good and is deployed again, unchanged, is tried again.
//
// Errors are of kind ErrInvalid (d contradicts itself), ErrConflict (with another app) or ErrNotFound (something
// external).
func Deploy(snap *store.Snapshot, d holdfast.Deployment, now time.Time) ([]Action, error) {
	if err := check(snap, &d); err != nil {
		return nil, fmt.Errorf("deploy %s: %w", d.Name, err)
	}
	dp := &deployer{snap: snap, d: &d, now: now, old: &holdfast.App{}}
	if old, ok := snap.Apps.Get(d.Name); ok {
		dp.old = old
	}
	if err := dp.run(); err != nil {
		return nil, fmt.Errorf("deploy %s: %w", d.Name, err)
	}
	return dp.actions, nil
}

type deployer struct {
	snap *store.Snapshot
	d    *holdfast.Deployment
	now  time.Time
	old  *holdfast.App // as deployed before; never nil

	app      *holdfast.App
	vips     *addresses
	ports    portTable
	released map[string]bool // services with a new release in this deployment
	actions  []Action
}

func (dp *deployer) run() error {
	networks, err := dp.networks()
	if err != nil {
		return err
	}
	if err := dp.volumes(); err != nil {
		return err
	}
	dp.app = &holdfast.App{Name: dp.d.Name, Networks: networks, Volumes: dp.d.Volumes, Updated: dp.now}
	dp.vips = usedAddresses(dp.snap)
	dp.ports = publishedPorts(dp.snap, dp.d)
	dp.released = make(map[string]bool)
	for _, spec := range inOrder(dp.d.Services) {
		if err := dp.service(spec); err != nil {
			return fmt.Errorf("service %s: %w", spec.Name, err)
		}
	}
	dp.orphans()
	dp.files()
	dp.finish()
	return nil
}

// inOrder sorts services so that each comes after those it depends on; check has refused cycles.
func inOrder(specs []holdfast.Spec) []*holdfast.Spec {
	byName := make(map[string]*holdfast.Spec, len(specs))
	for i := range specs {
		byName[specs[i].Name] = &specs[i]
	}
	var out []*holdfast.Spec
	done := make(map[string]bool)
	var visit func(name string)
	visit = func(name string) {
		spec := byName[name]
		if spec == nil || done[name] {
			return
		}
		done[name] = true
		for _, dep := range spec.DependsOn {
			visit(dep.Service)
		}
		out = append(out, spec)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		visit(name)
	}
	return out
}

// service decides on one service.
func (dp *deployer) service(spec *holdfast.Spec) error {
	digest := Digest(*spec)
	was, existed := dp.snap.Services.Get(store.ServiceKey(dp.d.Name, spec.Name))
	svc := holdfast.Service{App: dp.d.Name, Name: spec.Name}
	var current *holdfast.Release
	if existed {
		svc = *was
		current, _ = dp.snap.Releases.Get(store.ReleaseKey(svc.App, svc.Name, svc.Release))
	}
	resolved := *spec
	var err error
	if resolved.Ports, err = dp.ports.resolve(svc.App, spec, current); err != nil {
		return err
	}
	if svc.VIPs, err = dp.serviceAddresses(&svc, spec); err != nil {
		return err
	}
	why := dp.whyNewRelease(&svc, spec, current, digest)
	switch {
	case current != nil && svc.Removing:
		dp.comeBack(&svc)
		fallthrough
	case why != "":
		dp.release(&svc, &resolved, digest, cmp.Or(why, "was being removed"), current)
	case existed && svc.Rollout.Phase == holdfast.Halted:
		dp.retry(&svc, current)
	default:
		dp.keep(was, &svc, spec, current)
	}
	return nil
}

// whyNewRelease returns why the service needs one, or "".
func (dp *deployer) whyNewRelease(s *holdfast.Service, spec *holdfast.Spec, current *holdfast.Release, digest string) string {
	switch {
	case current == nil:
		return "new service"
	case current.Digest != digest:
		if what := difference(&current.Spec, spec); what != "" {
			return what + " changed"
		}
		return "changed"
	case dp.d.ForceRecreate:
		return "a new release was asked for"
	}
	for _, at := range spec.Networks {
		if was, now := dp.old.Networks[at.Network], dp.app.Networks[at.Network]; !sameNetwork(was, now) {
			return "network " + at.Network + " changed"
		}
	}
	for _, dep := range spec.DependsOn {
		if dep.Restart && dp.released[dep.Service] {
			return "restarts with " + dep.Service
		}
	}
	return ""
}

func sameNetwork(a, b holdfast.Network) bool {
	return a.Name == b.Name && a.Internal == b.Internal && a.Subnet == b.Subnet
}

// difference names the first field of Spec in which a and b differ. Ports are left out: those of a are chosen ones.
func difference(a, b *holdfast.Spec) string {
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		switch name := va.Type().Field(i).Tag.Get("json"); name {
		case "kindReason", "replicas", "ports,omitempty":
		default:
			if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
				name, _, _ = strings.Cut(name, ",")
				return name
			}
		}
	}
	return ""
}

// release gives the service a new release, or the stable one again when that is what is wanted.
func (dp *deployer) release(s *holdfast.Service, spec *holdfast.Spec, digest, why string, current *holdfast.Release) {
	dp.released[s.Name] = true
	if current == nil || current.Spec.Replicas != spec.Replicas {
		s.Scale = nil
	}
	if stable, ok := dp.stable(s); ok && stable.Digest == digest && s.Stable != s.Release && !dp.d.ForceRecreate {
		aim(s, s.Stable, dp.now, "deployed again")
		dp.add(about(s, holdfast.RolloutStarted, why, "go back to release %d of service %s", s.Release, s.Name))
		return
	}
	r := &holdfast.Release{
		App: s.App, Service: s.Name, Number: s.Last + 1, Digest: digest, Spec: *spec, Created: dp.now, Note: "deployed: " + why,
	}
	watched := settleFor(s, current)
	newRelease(s, r, dp.now)
	if spec.Mode == holdfast.Job {
		s.Run.LastFire = dp.now
	}
	if spec.Mode == holdfast.Job && dp.awaited(spec.Name) {
		s.Run.Requested++
	}
	a := about(s, holdfast.ReleaseCreated, why, "create release %d of service %s (image %s)", r.Number, s.Name, spec.Image)
	a.puts = append(a.puts, r)
	if watched != nil {
		a.puts = append(a.puts, watched)
	}
	dp.add(a)
}

// settleFor takes the current release for stable, and returns it so, when it is overtaken while it is watched and nothing
// before it was stable: one whose replicas were all ready is better to go back to than none.
func settleFor(s *holdfast.Service, current *holdfast.Release) *holdfast.Release {
	if current == nil || s.Stable != 0 || s.Rollout.Phase != holdfast.Monitoring || s.Rollout.To != current.Number {
		return nil
	}
	s.Stable = current.Number
	settled := *current
	settled.Outcome = holdfast.Done
	return &settled
}

func (dp *deployer) stable(s *holdfast.Service) (*holdfast.Release, bool) {
	return dp.snap.Releases.Get(store.ReleaseKey(s.App, s.Name, s.Stable))
}

// awaited reports whether a service of the deployment waits for job to complete.
func (dp *deployer) awaited(job string) bool {
	for _, spec := range dp.d.Services {
		for _, dep := range spec.DependsOn {
			if dep.Service == job && dep.Condition == completed {
				return true
			}
		}
	}
	return false
}

// newRelease makes r the service's wanted release.
func newRelease(s *holdfast.Service, r *holdfast.Release, now time.Time) {
	s.Last = r.Number
	aim(s, r.Number, now, "")
}

// aim starts a rollout to release.
func aim(s *holdfast.Service, release int, now time.Time, reason string) {
	s.Release = release
	s.Rollout = holdfast.Rollout{
		From: s.Stable, To: release, Phase: holdfast.Rolling, Reason: reason, Started: now, Changed: now,
	}
	s.Backoff = holdfast.Backoff{}
	s.Paused = false
}

// comeBack makes a service that was being removed a new one that continues its numbers.
func (dp *deployer) comeBack(s *holdfast.Service) {
	s.Removing, s.Stable = false, 0
}

func (dp *deployer) retry(s *holdfast.Service, current *holdfast.Release) {
	aim(s, current.Number, dp.now, "")
	dp.add(about(s, holdfast.RolloutStarted, "deployed again", "try release %d of service %s again", s.Release, s.Name))
}

// keep leaves the service's release as it is, and its count as the file has it.
func (dp *deployer) keep(was, s *holdfast.Service, spec *holdfast.Spec, current *holdfast.Release) {
	if spec.Mode == holdfast.Replicated && spec.Replicas != current.Spec.Replicas {
		r := *current
		r.Spec.Replicas = spec.Replicas
		s.Scale = nil
		a := about(s, holdfast.ServiceScaled, "changed in the file", "scale service %s from %d to %d", s.Name, count(was, &current.Spec), spec.Replicas)
		a.puts = append(a.puts, &r)
		dp.add(a)
		return
	}
	if !maps.Equal(was.VIPs, s.VIPs) {
		dp.add(about(s, "", "networks changed", "give service %s its addresses", s.Name))
	}
}

// count is how many replicas a replicated service is to have.
func count(s *holdfast.Service, spec *holdfast.Spec) int {
	if s.Scale != nil {
		return *s.Scale
	}
	return spec.Replicas
}

// orphans notes or removes the services that the deployment no longer names.
func (dp *deployer) orphans() {
	for _, was := range dp.snap.Services.All(dp.d.Name + "/") {
		if was.Removing || slices.ContainsFunc(dp.d.Services, func(s holdfast.Spec) bool { return s.Name == was.Name }) {
			continue
		}
		if !dp.d.RemoveOrphans {
			dp.add(Action{
				App: was.App, Service: was.Name, Note: true, Text: fmt.Sprintf("keep service %s", was.Name),
				Reason: "the file no longer names it; remove it with --remove-orphans",
			})
			continue
		}
		s := *was
		s.Removing = true
		dp.add(about(&s, holdfast.ServiceRemoved, "the file no longer names it", "remove service %s", s.Name))
	}
}

// files stores the content of secrets and configs that is not there yet.
func (dp *deployer) files() {
	for i := range dp.d.Files {
		f := &dp.d.Files[i]
		f.App = dp.d.Name
		if _, there := dp.snap.Files.Get(store.FileKey(f.App, f.Name, f.Digest)); there {
			continue
		}
		dp.add(Action{App: f.App, Text: "store file " + f.Name, Reason: "new content", Quiet: true, puts: []any{f}})
	}
}

// finish writes the app, when anything changed.
func (dp *deployer) finish() {
	same := dp.old.Name != "" && !dp.old.Removing && sameMap(dp.old.Networks, dp.app.Networks) &&
		sameMap(dp.old.Volumes, dp.app.Volumes)
	if same && !Changes(dp.actions) {
		return
	}
	text, reason := "deploy app "+dp.app.Name, ""
	if dp.old.Name == "" {
		reason = "new app"
	}
	a := Action{App: dp.app.Name, Text: text, Reason: reason, puts: []any{dp.app}, event: holdfast.AppDeployed, allots: true}
	dp.actions = append([]Action{a}, dp.actions...)
}

func (dp *deployer) add(a Action) { dp.actions = append(dp.actions, a) }
